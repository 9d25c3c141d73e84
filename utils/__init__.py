"""What the tasks stand on: data, encoders, metrics, results, and how a person sees them."""
