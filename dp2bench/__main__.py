"""``python -m dp2bench``: the command line where no script is installed."""

from dp2bench.cli.main import main

if __name__ == "__main__":
    main()
