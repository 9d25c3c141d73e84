"""Safety-Detection: what is left of a detector of unsafe prompts when it meets another dataset?"""
