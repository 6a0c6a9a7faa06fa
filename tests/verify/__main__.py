"""`python -m tests.verify [STEP...]`: what is not done for this commit yet, then the report. Ctrl-C stops cleanly;
the next call goes on where it stopped (the soak begins again: half a memory plot proves nothing)."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any, NoReturn

from captionstream.local.installed import Installed, MissingPart
from captionstream.telemetry import logs
from tests.verify.bounds import verdicts
from tests.verify.conversation import Stalled
from tests.verify.evaluation import EvaluationFailed
from tests.verify.records import Records, present_commit
from tests.verify.report import write_report
from tests.verify.running import NotStarted
from tests.verify.steps import NAMES, STEPS, do, tell


def main() -> None:
    told = arguments()
    logs.configure("verify", "CRITICAL")
    signal.signal(signal.SIGTERM, interrupt)
    records = Records(Installed.here().home / "verify", present_commit(), told.any_commit)
    asked = {
        "pictures": told.pictures,
        "labelled": told.labelled,
        "images": told.images,
        "minutes": told.minutes,
    }
    wanted = told.steps or NAMES
    try:
        for step in STEPS:
            if step.name in wanted:
                do(step, asked, records, told.again)
    except KeyboardInterrupt:
        raise SystemExit("\nstopped; the same command goes on from here") from None
    except (MissingPart, NotStarted, Stalled, EvaluationFailed) as failed:
        raise SystemExit(f"✗ {failed}") from None
    done = {name: record for name in NAMES if (record := records.read(name)) and name in wanted}
    if "report" in wanted:
        write_report(records)
        done = {step.name: record for step in STEPS if (record := records.read(step.name))}
    conclude(done)


def conclude(done: dict[str, Any]) -> None:
    """Say which bounds hold; exit 1 when one does not."""
    judged = verdicts({step: record.result for step, record in done.items()})
    for verdict in judged:
        tell(
            f"{'✓' if verdict.met else '✗'} {verdict.step}: {verdict.what}: {verdict.measured} ({verdict.bound})"
        )
    sys.exit(0 if all(verdict.met for verdict in judged) else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verify",
        description=__doc__,
        epilog="\n".join(f"{step.name:<11} {step.about}" for step in STEPS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", choices=[[], *NAMES], help=f"one of {', '.join(NAMES)}"
    )
    parser.add_argument("--again", action="store_true", help="do it although it is done")
    parser.add_argument(
        "--any-commit", action="store_true", help="what was done for another commit counts too"
    )
    parser.add_argument("--pictures", type=int, default=500, help="of the step of that name (500)")
    parser.add_argument(
        "--labelled", type=int, default=0, help="pictures of each evaluation set; 0 is all (0)"
    )
    parser.add_argument("--images", type=int, default=0, help="hostile ones; 0 is all (0)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the soak (30)")
    return parser.parse_args()


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
