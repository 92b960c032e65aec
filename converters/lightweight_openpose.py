"""The former name of `python -m converters.export lightweight-openpose`, which works for one more version."""

import sys
from functools import partial

from converters.export import under_former_name

main = partial(under_former_name, "lightweight-openpose")

if __name__ == "__main__":
    sys.exit(main())
