"""One video to its JPEG frames, through ffmpeg."""
