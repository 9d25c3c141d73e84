"""Results of detection, read, compared and put into words."""
