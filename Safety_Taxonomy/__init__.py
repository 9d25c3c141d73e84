"""Safety-Taxonomy: do unsafe prompts of one category lie together?"""
