"""Sets of prompts labelled safe or unsafe."""
