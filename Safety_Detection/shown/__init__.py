"""What the results of Safety-Detection show."""
