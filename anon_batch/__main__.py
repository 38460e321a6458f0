"""`python -m anon_batch`: the command line, for launchers that start modules."""

from anon_batch.cli import start

if __name__ == "__main__":
    start()
