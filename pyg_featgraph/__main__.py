r"""So that :obj:`python -m pyg_featgraph` is the command."""

import sys

from pyg_featgraph.command import main

sys.exit(main())
