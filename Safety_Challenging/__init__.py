"""Safety-Challenging: does the encoder tell an unsafe prompt from a safe one that shares its words?"""
