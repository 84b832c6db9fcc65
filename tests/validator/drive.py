"""Runs the tests of the IIIF's validator and prints one JSON object a line: test, level, passed, why not.

    drive.py colours                               the colours of the validation image's squares, by column
    drive.py run SERVER PREFIX IDENTIFIER VERSION  all tests of that version

Nothing of the package is changed. Its tests for JP2, PDF and WebP call urllib.urlopen, which Python 3 does not have: the
name is lent to them, so that they fail for what they find and not for a missing name.
"""

import contextlib
import json
import random
import sys
import urllib
import urllib.request

# the package greets on standard output
with contextlib.redirect_stdout(sys.stderr):
    from iiif_validator.validator import ImageAPI, TestSuite, ValidationInfo

urllib.urlopen = urllib.request.urlopen


def run(server, prefix, identifier, version):
    suite = TestSuite(ValidationInfo())
    for name, about in sorted(suite.list_tests(version).items()):
        # the same squares, sizes and wrong words every time
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
