"""`python -m worker` is `comeback`."""

from worker.cli import main

if __name__ == "__main__":
    main()
