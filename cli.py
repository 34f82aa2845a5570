"""``python cli.py VERB`` in a clone; what an install calls ``featcache VERB``."""

from heads.commands.main import main

if __name__ == "__main__":
    main()
