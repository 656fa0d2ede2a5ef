"""Says what was checked: a line for each sentence, and the count at the end."""

import contextlib
import sys
import time
import traceback


class Report:
    """The sentences that were checked."""

    def __init__(self):
        self.held = 0
        self.failed = []
        self.began = time.monotonic()

    @contextlib.contextmanager
    def part(self, title):
        """What belongs together. What breaks it off counts as a failure, and the next part runs all the same."""
        print(f"-- {title} ({time.monotonic() - self.began:.0f} s)", flush=True)
        try:
            yield
        except Exception:
            traceback.print_exc()
            self.holds(f"the part '{title}' runs to its end", False)

    def holds(self, sentence, truth, found=""):
        """Whether the sentence holds; `found` is shown if not."""
        if truth:
            self.held += 1
            print(f"   {sentence}", flush=True)
            return
        self.failed.append(sentence)
        print(f"FAILED: {sentence}: {found}" if found != "" else f"FAILED: {sentence}", flush=True)

    def same(self, sentence, wanted, found):
        """Whether the two are the same."""
        self.holds(sentence, wanted == found, f"wanted {wanted!r}, found {found!r}")

    def end(self):
        """Prints the count; ends the program if something failed."""
        for sentence in self.failed:
            print(f"FAILED: {sentence}", file=sys.stderr)
        if self.failed:
            sys.exit(f"{len(self.failed)} of {self.held + len(self.failed)} checks failed")
        print(f"{self.held} checks passed")
