"""Live sessions: cameras, the window, recordings, virtual cameras and MJPEG streams."""
