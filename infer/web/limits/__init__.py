"""What visitors may ask of the machine: bytes on disk, requests at a time, patience with them."""
