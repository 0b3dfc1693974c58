"""`python -m kerasxai`, for where the `kerasxai` script is not on the path."""

import sys

from kerasxai.cli import main

sys.exit(main())
