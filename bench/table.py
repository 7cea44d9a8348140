"""The figures that Hearth has to reach beside PyTorch + PEFT: what is run for each, and the verdict."""

import statistics
import subprocess
import sys

TABLE_COLUMNS = ["time", "figure", "hearth", "peer", "value", "must", "aim", "verdict", "cpu", "cores", "version"]
GEMMA = "gemma3-270m"
# Processes whose median is the time to the first step; one before them brings the model into the page cache.
STARTS = 3
# Steps of the peer that are not timed: torch.compile works in them. For rows it is one round over all shapes.
PEER_WARM_UP = 3


class Table:
    def __init__(self, bench):
        self.bench = bench
        self.lines = []

    def add(self, figure, hearth, peer, value, must, aim, show, lower=False):
        """One figure; `must` and `aim` are least values, or with `lower` greatest ones."""
        reached = (lambda limit: value <= limit) if lower else (lambda limit: value >= limit)
        verdict = "aim met" if reached(aim) else "must met" if reached(must) else "NOT MET"
        self.lines.append([figure, hearth, peer, show(value), show(must), show(aim), verdict])
        self.bench.append("table", TABLE_COLUMNS, {
            "figure": figure, "hearth": hearth, "peer": peer, "value": value, "must": must, "aim": aim,
            "verdict": verdict, "version": self.bench.version, **self.bench.machine})

    def missing(self, figure, reason):
        self.lines.append([figure, "", "", "", "", "", reason])

    def speed(self, figure, ours, peer, must, aim):
        note = "" if peer.get("compile") else ", not compiled"
        self.add(figure, f"{ours['tokens_per_second']:.0f} tok/s", f"{peer['tokens_per_second']:.0f} tok/s{note}",
                 ours["tokens_per_second"] / peer["tokens_per_second"], must, aim, lambda x: f"{x:.2f} x")

    def memory(self, figure, ours, peer, must, aim):
        mib = lambda report: f"{report['peak_rss_bytes'] / 2**20:.0f} MiB"
        self.add(figure, mib(ours), mib(peer), ours["peak_rss_bytes"] / peer["peak_rss_bytes"], must, aim,
                 lambda x: f"1/{1 / x:.1f}", lower=True)

    def show(self):
        lines = [["figure", "hearth", "peer", "value", "must", "aim", "verdict"], *self.lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def packed(table, arguments, rows):
    """The main figure: one packed micro-batch, every token trained, as one sequence."""
    flags = ["--tokens", arguments.tokens, "--steps", arguments.steps]
    ours, peer = both(table.bench, "packed, 1 sequence", flags, PEER_WARM_UP)
    table.speed("training, packed, 1 sequence", ours, peer, 4, 8)
    table.memory("peak memory of it", ours, peer, 1 / 4, 1 / 6)
    ceiling = f"{ours['ceiling_flop_per_second'] / 1e9:.0f} GFLOP/s"
    table.add("share of that ceiling", f"{ours['flop_per_second'] / 1e9:.0f} GFLOP/s", ceiling,
              ours["share_of_ceiling"], 0.35, 0.55, lambda x: f"{100 * x:.0f} %")


def packed_8(table, arguments, rows):
    """The same tokens as eight sequences."""
    flags = ["--tokens", arguments.tokens, "--sequence-length", arguments.tokens // 8, "--steps", arguments.steps]
    ours, peer = both(table.bench, "packed, 8 sequences", flags, PEER_WARM_UP)
    table.speed("training, packed, 8 sequences", ours, peer, 4, 8)
    table.memory("peak memory of it", ours, peer, 1 / 4, 1 / 6)


def chat_rows(table, arguments, rows):
    """Rows of 50 to 400 tokens, eight a step; the peer pads them."""
    flags = ["--rows", rows, "--steps", arguments.row_steps]
    ours, peer = both(table.bench, "chat rows", flags, arguments.row_steps, ["--layout", "padded"])
    table.speed("training, chat rows, peer pads", ours, peer, 6, 12)


def start(table, arguments, rows):
    """Process start to the end of the first step of eight rows, tokenizer and template included."""
    flags = ["--rows", rows, "--steps", 1]
    table.bench.hearth("start, not counted", flags)
    seconds = statistics.median(
        table.bench.hearth("start", flags)["seconds_to_first_step"] for _ in range(STARTS))
    table.add("start to first step, 8 chat rows", f"{seconds:.2f} s", "", seconds, 3, 1, lambda x: f"{x:.2f} s",
              lower=True)


def forward(table, arguments, rows):
    """Evaluation: the loss alone."""
    flags = ["--tokens", arguments.tokens, "--steps", arguments.steps, "--forward"]
    ours, peer = both(table.bench, "forward only, 1 sequence", flags, PEER_WARM_UP)
    table.speed("evaluation, packed, 1 sequence", ours, peer, 4, 8)
    flags += ["--sequence-length", arguments.tokens // 8]
    ours, peer = both(table.bench, "forward only, 8 sequences", flags, PEER_WARM_UP)
    table.speed("evaluation, packed, 8 sequences", ours, peer, 4, 8)


def turbo(table, arguments, rows):
    """Products with frozen weights in 8-bit integers, beside those in bf16; no peer."""
    flags = ["--tokens", arguments.tokens, "--sequence-length", arguments.tokens // 8, "--steps", arguments.steps]
    plain, fast = (table.bench.hearth(f"{precision}, 8 sequences", [*flags, "--precision", precision])
                   for precision in ("bf16", "int8"))
    table.add("isTurbo: int8 over bf16, 8 sequences", f"{fast['tokens_per_second']:.0f} tok/s",
              f"{plain['tokens_per_second']:.0f} tok/s", fast["tokens_per_second"] / plain["tokens_per_second"], 1.2, 1.2,
              lambda x: f"{x:.2f} x")


def gemma(table, arguments, rows):
    """A model whose vocabulary makes logits the largest thing by far."""
    if not table.bench.installed(GEMMA):
        table.missing("Gemma 3 270M", f"not installed: hearth model pull {GEMMA} --data-dir target/test-data")
        return
    flags = ["--tokens", arguments.tokens, "--steps", arguments.steps]
    ours, peer = both(table.bench, "gemma, 1 sequence", flags, PEER_WARM_UP, model=GEMMA)
    table.speed("Gemma 3 270M, packed, 1 sequence", ours, peer, 4, 8)
    table.memory("peak memory of it", ours, peer, 1 / 4, 1 / 8)


def f32(table, arguments, rows):
    """Without rounding, on both sides."""
    flags = ["--tokens", arguments.tokens, "--steps", arguments.steps, "--precision", "f32"]
    ours, peer = both(table.bench, "f32, 1 sequence", flags, PEER_WARM_UP)
    table.speed("f32, packed, 1 sequence", ours, peer, 1.5, 2)


def flat(table, arguments, rows):
    """Cost of a token as more rows are packed; no peer."""
    sizes = [arguments.tokens * factor // 4 for factor in (1, 2, 4, 8, 16)]
    length = arguments.tokens // 8
    speeds = [table.bench.hearth(f"{size} packed of {length}", [
        "--tokens", size, "--micro-batch-tokens", size, "--sequence-length", length, "--steps", arguments.steps])["tokens_per_second"]
        for size in sizes]
    table.add(f"cost per token, {sizes[0]} to {sizes[-1]} packed", f"{min(speeds):.0f} to {max(speeds):.0f} tok/s", "",
              max(speeds) / min(speeds) - 1, 0.10, 0.05, lambda x: f"{100 * x:.1f} %", lower=True)


CASES = {"packed": packed, "packed-8": packed_8, "rows": chat_rows, "start": start, "forward": forward, "turbo": turbo,
         "gemma": gemma, "f32": f32, "flat": flat}


def both(bench, case, flags, warm_up, peer_flags=(), **model):
    """Hearth, then the peer; `flags` are common to both."""
    precision = [] if "--precision" in flags else ["--precision", "bf16"]
    ours = bench.hearth(case, [*flags, *precision], **model)
    return ours, bench.peer(case, [*flags, *precision, "--warmup", warm_up, *peer_flags], **model)


def run(bench, arguments, rows):
    """All cases, or those asked for; a case that fails is a line of the table, and the others go on."""
    table = Table(bench)
    failed = False
    for name, case in CASES.items():
        if arguments.only and name not in arguments.only:
            continue
        try:
            case(table, arguments, rows)
        except subprocess.CalledProcessError as error:
            failed = True
            table.missing(name, f"failed: exit code {error.returncode}")
    print()
    table.show()
    if failed:
        sys.exit(1)
