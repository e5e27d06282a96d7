"""Opens a journal in optuna-dashboard and prints what its pages are made of, as JSON: one line for the list
of studies, then one for every trial of the first study.

    python with_dashboard.py JOURNAL     needs optuna-dashboard
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def fetch(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    arguments = [sys.executable, "-c", program, sys.argv[1], "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                studies = fetch(f"{base}/api/studies")["study_summaries"]
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        print(json.dumps(studies))
        study = fetch(f"{base}/api/studies/{studies[0]['study_id']}?after=0")
        for trial in study["trials"]:
            print(json.dumps(trial))
        with urllib.request.urlopen(f"{base}/dashboard/studies/{studies[0]['study_id']}") as page:
            assert b"<html" in page.read()
    finally:
        server.terminate()
        server.wait()


main()
