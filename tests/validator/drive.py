"""Runs the tests of the IIIF validator and prints one JSON object per line: test, level, passed, reason of the failure.

    drive.py colours                               the colours of the squares of the validation image, by column
    drive.py run SERVER PREFIX IDENTIFIER VERSION  all tests of that version

The package is not modified. Its tests for JP2, PDF and WebP call urllib.urlopen, which Python 3 lacks: this script defines it,
so that these tests do not fail for a missing name.
"""

import contextlib
import json
import random
import sys
import urllib
import urllib.request

# the package prints to standard output
with contextlib.redirect_stdout(sys.stderr):
    from iiif_validator.validator import ImageAPI, TestSuite, ValidationInfo

urllib.urlopen = urllib.request.urlopen


def run(server, prefix, identifier, version):
    suite = TestSuite(ValidationInfo())
    for name, about in sorted(suite.list_tests(version).items()):
        # reproducible squares, sizes and invalid parameters
        random.seed(name + version)
        result = ImageAPI(identifier, server, prefix, "http", "", version, debug=False)
        why = None
        with contextlib.redirect_stdout(sys.stderr):
            try:
                TestSuite(ValidationInfo()).run_test(name, result)
                if result.exception:
                    why = str(result.exception)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
        line = {"test": name, "level": about["level"], "passed": why is None, "why": why, "urls": result.urls}
        print(json.dumps(line))


if sys.argv[1] == "colours":
    print(json.dumps(ValidationInfo().colorInfo))
else:
    run(*sys.argv[2:6])
