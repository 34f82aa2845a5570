"""What in a set of images can make a figure lie: copies, torn patients, shortcuts."""
