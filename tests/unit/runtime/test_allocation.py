"""Memory that originals used goes back to the system."""

import subprocess
import sys

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
import psutil
from captionstream.runtime.allocation import give_memory_back

def originals(number):
    held = [bytes(2_000_000 + 300_000 * (number + place)) for place in range(4)]
    return [bytes(5_000) for _ in range(200)]

{first}
with ThreadPoolExecutor(8) as threads:
    before = psutil.Process().memory_info().rss
    for _ in range(10):
        list(threads.map(originals, range(16)))
    print(psutil.Process().memory_info().rss - before)
"""


def kept(first: str) -> int:
    """Bytes that a process holds after it worked on originals, in several threads at once."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_what_originals_used_is_given_back() -> None:
    """Less than two thirds of what a process keeps that was not told so."""
    assert 3 * kept("give_memory_back()") < 2 * kept("")
