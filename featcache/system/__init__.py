"""What all else stands on: files written whole, memory, time, interrupts; text and files from elsewhere made safe."""
