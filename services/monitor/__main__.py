"""Run the monitor: `python -m services.monitor`."""

from services.monitor.wiring import serve_monitor

if __name__ == "__main__":
    serve_monitor()
