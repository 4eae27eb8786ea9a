"""`python -m shardify`."""

from shardify.cli import main

if __name__ == "__main__":
    main(prog_name="shardify")
