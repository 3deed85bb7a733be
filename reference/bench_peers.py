"""Runs timed tasks on engines that others wrote: the other side of `cargo xtask bench --peers`.

    python bench_peers.py peers
    python bench_peers.py serve --peer NAME --model DIR --threads N --scratch DIR
    python bench_peers.py first-token --peer NAME --model DIR --threads N --scratch DIR --tokens T

`serve` says what it is in one line of JSON, then answers every line of JSON with one line until "stop" or the end:
    {"task": "prefill", "tokens": T}                       -> {"seconds": s}
    {"task": "decode", "past": P, "batch": B, "steps": K}  -> {"seconds": s}, the mean of a step
    {"task": "logits", "ids": [..]}                        -> {"logits": [..]}, of the last position
A task that the peer cannot do is answered with {"unsupported": reason}. A peer that is not there, or cannot run this
model, says {"peer": NAME, "absent": reason} and exits with 0. Whatever libraries print goes to stderr.

Every peer has its weights in float32 and N threads, and computes the logits of the last position only; what else it is
set to is in its "detail". Before it says that it is there, its steps have been compared with its prefill.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

from peers.common import Refusal, read_config

os.environ["HF_HUB_OFFLINE"] = "1"  # a model is a folder; nothing here may ask a hub


@dataclass
class Peer:
    """Where a peer is; its module is imported where it is needed, because its packages may not be there."""

    module: str
    name: str  # of the class
    converter: str | None  # the module that writes the model in the peer's own format
    packages: tuple[str, ...]


Answer = Callable[[dict], None]
LLAMA = ("llama-cpp-python", "gguf")
PEERS = {
    "transformers": Peer("peers.hf", "Transformers", None, ("transformers", "torch")),
    "onnxruntime": Peer("peers.onnx", "OnnxRuntime", "peers.onnx_export", ("onnxruntime", "torch", "onnxscript")),
    "llama.cpp": Peer("peers.llama", "LlamaCpp", "peers.llama_gguf", LLAMA),
    "llama.cpp-kv32": Peer("peers.llama", "LlamaCpp32", "peers.llama_gguf", LLAMA),
}


def converted(options: argparse.Namespace) -> pathlib.Path | None:
    """The folder of this model in the peer's own format, made once for a model, a converter and its packages.

    Another process makes it, so that neither its memory nor what it imports is counted as the peer's.
    """
    peer = PEERS[options.peer]
    if peer.converter is None:
        return None
    weights = (options.model / "model.safetensors").stat()
    code = pathlib.Path(__file__).parent.joinpath(*peer.converter.split(".")).with_suffix(".py")
    parts = [path.read_text(encoding="utf-8") for path in (code, options.model / "config.json")]
    parts += [weights.st_size, weights.st_mtime_ns, versions(peer)]
    folder = options.scratch / f"{code.stem}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    part = folder.with_suffix(f".{os.getpid()}")
    part.mkdir(parents=True)
    command = [sys.executable, __file__, "convert", "--peer", options.peer, "--model", options.model, "--out", part]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE, text=True)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        shutil.rmtree(part)
        raise Refusal(f"not converted: {(done.stderr.strip() or f'exit code {done.returncode}').splitlines()[-1]}")
    part.rename(folder)
    return folder


def versions(peer: Peer) -> str:
    return ", ".join(f"{package} {version(package)}" for package in peer.packages)


@contextlib.contextmanager
def absent_if_it_fails(options: argparse.Namespace, answer: Answer) -> Iterator[None]:
    """Whatever a library raises while it is imported or loads a model, it means that this peer is not there."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        line = (str(error).strip() or "no message").splitlines()[0]
        reason = line if isinstance(error, Refusal) else f"{type(error).__name__}: {line}"
        answer({"peer": options.peer, "absent": reason})
        sys.exit(0)


def load(options: argparse.Namespace, folder: pathlib.Path | None):
    """The peer with its model; its module has been imported."""
    peer = PEERS[options.peer]
    return getattr(importlib.import_module(peer.module), peer.name)(options.model, folder, options.threads)


def serve(options: argparse.Namespace, answer: Answer) -> None:
    with absent_if_it_fails(options, answer):
        from peers.tasks import Tasks

        engine = load(options, converted(options))
        tasks = Tasks(engine, read_config(options.model))
        tasks.check()  # a peer that loads, but does not run this model, is not there either
    answer({"peer": options.peer, "version": versions(PEERS[options.peer]), "detail": engine.detail})
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("task")
        if task == "stop":
            return
        try:
            answer(getattr(tasks, task)(**request))
        except Refusal as refusal:
            answer({"unsupported": str(refusal)})


def first_token(options: argparse.Namespace, answer: Answer) -> None:
    """What whoever starts a program waits for; a conversion that was still to be made is no part of it."""
    with absent_if_it_fails(options, answer):
        start = time.perf_counter()
        folder = converted(options)
        converting = time.perf_counter() - start
        importlib.import_module(PEERS[options.peer].module)
        from peers.tasks import prompt

        config = read_config(options.model)
        ids = prompt(config, 1, options.tokens)
        start = time.perf_counter()
        engine = load(options, folder)
        engine.open(1)
        engine.run(ids).argmax()
        seconds = time.perf_counter() - start
        with_imports = age() - converting
    answer({"seconds": seconds, "with_imports": with_imports, "peak_bytes": peak_bytes()})


def age() -> float:
    """Seconds since this process began; the interpreter's own start is among them."""
    ticks = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")


def peak_bytes() -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def take_stdout() -> Answer:
    """What writes to stdout; from here on fd 1 is stderr, for Python and for every library."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return lambda line: print(json.dumps(line), file=stream, flush=True)


def convert(options: argparse.Namespace) -> int:
    try:
        importlib.import_module(PEERS[options.peer].converter).convert(options.model, options.out)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("peers")
    for name in ("serve", "first-token", "convert"):
        command = commands.add_parser(name)
        command.add_argument("--peer", choices=PEERS, required=True)
        command.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face GPT-2 folder")
        if name == "convert":  # what this program runs for itself
            command.add_argument("--out", type=pathlib.Path, required=True, help="an empty folder")
            continue
        command.add_argument("--threads", type=int, required=True)
        command.add_argument("--scratch", type=pathlib.Path, required=True, help="where converted models are kept")
        if name == "first-token":
            command.add_argument("--tokens", type=int, required=True)
    options = parser.parse_args()

    if options.command == "peers":
        print(*PEERS, sep="\n")
        return 0
    answer = take_stdout()
    if options.command == "convert":
        return convert(options)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when the libraries are loaded
    (serve if options.command == "serve" else first_token)(options, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
