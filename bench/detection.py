"""Detection quality: methods side by side on AgentDojo, real coding sessions and spliced hijacks.

python bench/detection.py [--method MODULE:CLASS ...] [--quick] [--heavy] [--only EXPERIMENT] [--data PATH]
"""

from detection.cli import main

if __name__ == "__main__":
    main()
