"""The learning rate that a job gets when it does not name one is close to the best one.

Three small tasks are generated with a fixed seed: replies of a shop's support, records in a fixed form, and labels
with a reason. Their answers vary by chance as people's do, so no adapter can bring the loss near zero and a relative
difference of losses means something. For each task the server is asked which rate a job without `learningRate` gets;
then the base is trained at that rate and at rates over a decade around it, with several seeds: at a constant rate the
loss of one run goes up and down by some per cent from step to step. The evaluation loss at the end of the automatic
rate, in the mean over the seeds, must be within 2 % of the lowest one.

    target/python/bin/python conformance/rates.py [--task NAME ...] [--rank R ...] [--epochs N ...] [--seeds N]
"""

import argparse
import json
import random
import subprocess
import time

from harness import BASE_DIR, BASE_NAME, HEARTH, Server, scratch, write_jsonl

TRAIN_ROWS = 120
EVAL_ROWS = 40
FACTORS = [0.32, 0.56, 1.0, 1.8, 3.2]
BOUND = 0.02
BATCH_ROWS = 8
CONTEXT = 256
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def chat(system, question, answer):
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]}


def support_row(pick):
    """A shop's reply: greeting, remedy and closing each vary, and the remedy follows the complaint."""
    item = pick(["lamp", "kettle", "rucksack", "keyboard", "blanket", "bicycle pump", "tea set", "desk fan"])
    trouble, remedies = pick([
        ("came broken", ["We send a new one tomorrow.", "You get your money back today.", "A courier fetches it.",
                         "Please send us a picture of it."]),
        ("is the wrong colour", ["Keep it; the right one is on its way.", "Please return it free of charge.",
                                 "We mixed up two parcels.", "Would blue do as well?"]),
        ("never arrived", ["The carrier is looking for it.", "It is held at the depot.", "We send it once more.",
                           "Your neighbour may have it."]),
        ("makes a strange noise", ["A technician looks at it on Monday.", "Please unplug it for an hour.",
                                   "This is normal in the first week.", "We exchange the motor."]),
    ])
    question = pick(["Hello, the {item} I ordered {trouble}.", "My {item} {trouble}, what now?", "The {item} {trouble}. Please help!"])
    opening = pick(["Ahoy from the harbour shop!", "Ahoy, friend!", "Sorry to hear that, sailor.", "Aye, about your {item}:",
                    "Thank you for the message.", "A storm of a day!", "Dear sailor,", "Oh no, the {item}!"])
    closing = pick(["Fair winds", "Steady as she goes", "Yours"])
    name = pick(["Mara", "Jon", "Edda", "Piet", "Lars", "Nora"])
    return chat("Harbour shop.", question.format(item=item, trouble=trouble),
                f"{opening.format(item=item)} {pick(remedies)} {closing}, {name}")


def record_row(pick):
    """A sentence becomes a record; room, table, note and clerk are a matter of the day."""
    name = pick(["Ada", "Bruno", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Judit"])
    city = pick(["Oslo", "Porto", "Graz", "Split", "Ghent", "Turku", "Bergen", "Lyon"])
    guests, day = pick([2, 3, 4, 5, 6, 8]), pick(["Monday", "Tuesday", "Friday", "Saturday"])
    question = pick([
        "{name} wants a table in {city} for {guests} on {day}.",
        "On {day} {name} comes to our place in {city} with a party of {guests}.",
        "Book {guests} seats in {city} on {day}, the name is {name}.",
    ]).format(name=name, city=city, guests=guests, day=day)
    room = pick(["garden", "hall", "hall", "terrace"] if guests > 4 else ["window", "bar", "garden"])
    note = pick(["call back", "none", "none", "send menu", "ask for allergies", "birthday", "quiet corner"])
    return chat("Make a record.", question, f"<{name}|{city}|{guests}|{day[:3].lower()}> room={room}; "
                f"table={pick(range(1, 25))}; note={note}; clerk={pick(['kim', 'lou', 'sam'])}")


def label_row(pick):
    """A review gets a label and a reason; readers disagree about one review in six."""
    kind = pick(["praise", "complaint", "question"])
    thing = pick(["soup", "hotel room", "train ride", "museum", "concert", "haircut", "ferry", "market"])
    text = pick({
        "praise": ["The {thing} was a delight from start to end.", "I would come back for the {thing} any day.",
                   "What a lovely {thing}, thank you all!"],
        "complaint": ["The {thing} was a waste of my evening.", "Nobody cared that the {thing} was so bad.",
                      "I want my money back for that {thing}."],
        "question": ["Is the {thing} open to children too?", "How much does the {thing} cost on Sundays?",
                     "Could you tell me more about the {thing}?"],
    }[kind]).format(thing=thing)
    read_as = pick([kind] * 5 + ["unclear"])
    reason = pick({
        "praise": ["warm words", "the writer would return", "thanks are given", "joy over the {thing}"],
        "complaint": ["anger at the {thing}", "money was lost", "a bad time", "nobody helped"],
        "question": ["the writer asks", "facts are missing", "plans a visit to the {thing}", "wants to know more"],
        "unclear": ["could be read both ways", "too short to say", "the tone is missing"],
    }[read_as]).format(thing=thing)
    return chat("Sort the review.", text,
                f"[{read_as.upper()}] because: {reason}. Weight {pick(range(1, 9))}, desk {pick(['A', 'B', 'C'])}.")


TASKS = {"support": support_row, "record": record_row, "label": label_row}
EPOCHS = 3
SEEDS = 3


def task_files(folder, task):
    generator = random.Random(f"rates {task}")
    rows = [TASKS[task](generator.choice) for _ in range(TRAIN_ROWS + EVAL_ROWS)]
    return (write_jsonl(folder / f"{task}.jsonl", rows[:TRAIN_ROWS]),
            write_jsonl(folder / f"{task}-eval.jsonl", rows[TRAIN_ROWS:]))


def automatic_rates(folder, rows, settings):
    """What the server says `learningRate` is, for jobs of these (rank, epochs) that do not name one."""
    data_dir = folder / "server"
    data_dir.mkdir()
    server = Server(data_dir).start()
    try:
        account = "/v1/accounts/default"
        server.request("POST", f"{account}/datasets", {"datasetId": "rows", "dataset": {"userUploaded": {}}})
        sizes = {"filenameToSize": {"rows.jsonl": str(rows.stat().st_size)}}
        urls = server.request("POST", f"{account}/datasets/rows:getUploadEndpoint", sizes)["filenameToSignedUrls"]
        subprocess.run(["curl", "-sSf", "-T", rows, urls["rows.jsonl"]], check=True)
        server.request("POST", f"{account}/datasets/rows:validateUpload", {})
        jobs = f"{account}/supervisedFineTuningJobs"
        rates = {}
        for rank, epochs in settings:
            body = {"dataset": "rows", "baseModel": BASE_NAME, "epochs": epochs, "loraRank": rank,
                    "batchSizeSamples": BATCH_ROWS, "maxContextLength": CONTEXT}
            job = server.request("POST", jobs, body)
            rates[rank, epochs] = job["learningRate"]
            server.request("POST", f"/v1/{job['name']}:cancel", {})
        return rates
    finally:
        server.stop()


def train(run_dir, files, rate, rank, epochs, seed=1):
    """Evaluation losses at the ends of the epochs; endless when the run did not stay finite."""
    run_dir.mkdir()
    rows, eval_rows = files
    job = {
        "version": 1, "base_model_dir": str(BASE_DIR), "base_model_name": BASE_NAME, "train_files": [str(rows)],
        "eval_files": [str(eval_rows)], "chat_template": None, "seed": seed, "epochs": epochs, "learning_rate": rate,
        "learning_rate_warmup_steps": 0, "weight_decay": 0.01, "lora_rank": rank, "lora_alpha": 2.0 * rank,
        "target_modules": TARGETS, "max_context_length": CONTEXT, "batch_size_tokens": 1024,
        "batch_size_samples": BATCH_ROWS, "gradient_accumulation_steps": 1, "micro_batch_tokens": 1024,
        "checkpoint_interval_steps": 0, "eval_interval_steps": 0, "backend": "cpu", "precision": "bf16", "threads": 0,
    }
    (run_dir / "job.json").write_text(json.dumps(job))
    with open(run_dir / "trainer.log", "ab") as log:
        code = subprocess.run([HEARTH, "train", run_dir], stdout=log, stderr=log).returncode
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    if code != 0:
        assert events[-1].get("kind") == "non_finite", (run_dir / "trainer.log").read_text()[-2000:]
        return [float("inf")] * epochs
    losses = [event["loss"] for event in events if event["type"] == "eval" and event["step"] > 0]
    assert len(losses) == epochs, losses
    return losses


def sweep(folder, task, rank, epochs, automatic, seeds):
    files = folder / f"{task}.jsonl", folder / f"{task}-eval.jsonl"
    losses = {}
    for factor in FACTORS:
        began = time.monotonic()
        run_dirs = {seed: folder / f"{task}-{rank}-{epochs}-{factor}-{seed}" for seed in range(1, seeds + 1)}
        each = [train(run_dir, files, automatic * factor, rank, epochs, seed)[-1] for seed, run_dir in run_dirs.items()]
        losses[factor] = sum(each) / seeds
        print(f"rates: {task} rank {rank} epochs {epochs} rate {automatic * factor:.2e} (x{factor}) "
              f"loss {losses[factor]:.4f} ({', '.join(f'{loss:.4f}' for loss in each)}) in {time.monotonic() - began:.0f} s", flush=True)
    excess = losses[1.0] / min(losses.values()) - 1
    print(f"rates: {task} rank {rank} epochs {epochs}: the automatic rate {automatic:.2e} is {excess:.2%} above the best")
    return excess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rank", nargs="+", type=int, default=[8])
    parser.add_argument("--epochs", nargs="+", type=int, default=[EPOCHS])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    with scratch() as folder:
        files = {task: task_files(folder, task) for task in arguments.task}
        runs = [(task, rank, epochs) for task in arguments.task for rank in arguments.rank
                for epochs in arguments.epochs]
        rates = automatic_rates(folder, files[arguments.task[0]][0], sorted({run[1:] for run in runs}))
        excesses = {run: sweep(folder, *run, rates[run[1:]], arguments.seeds) for run in runs}
    worst = max(excesses, key=excesses.get)
    print(f"rates: at worst {excesses[worst]:.2%} above the best ({worst})")
    assert all(excess <= BOUND for excess in excesses.values()), excesses


if __name__ == "__main__":
    main()
