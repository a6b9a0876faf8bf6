"""``python -m joulebench.worker``: the process that runs a model."""

from joulebench.worker.serving import main

if __name__ == "__main__":
    main()
