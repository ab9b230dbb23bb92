"""`python -m pocketlens`."""

from pocketlens.cli import main

if __name__ == "__main__":
    main()
