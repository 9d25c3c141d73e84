"""What results of detection say."""
