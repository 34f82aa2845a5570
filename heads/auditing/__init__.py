"""What in a set of images can make a score lie: copies, torn patients, shortcuts."""
