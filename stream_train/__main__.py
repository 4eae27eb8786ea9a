"""`python -m stream_train`."""

from stream_train.cli import main

if __name__ == "__main__":
    main()
