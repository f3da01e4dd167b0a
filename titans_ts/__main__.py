"""``python -m titans_ts`` is the command line."""

from titans_ts.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
