"""What a teacher and the maintainer need: lessons built from their sources, and all that follows.

Nothing that a learner uses imports this package.
"""
