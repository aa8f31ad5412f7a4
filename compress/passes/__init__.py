"""The passes, one file each: a typed step of a recipe, and the code that carries it out."""
