"""The command `captionstream`. Data goes to stdout, progress to stderr."""


def main() -> None:
    """Entry point; the import is here so that naming the package stays free of cost."""
    from captionstream.cli.app import app

    app()
