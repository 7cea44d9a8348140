"""Jobs on rows that lie in S3: the service and its STS are moto's server, which checks signatures and policies; the jobs
are whole ones of a real server on a tiny base."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from harness import Server, colour_rows, free_port, scratch
from storage import (RANGE, Fetcher, Jobs, Proxy, error_of, install_base, must_be_nowhere, rows_text, wait, wait_for_port)

BUCKET, REGION = "rows.example", "eu-west-1"
ACCOUNT = "123456789012"
TOKEN = "eyJhbGciOiJub25lIn0.hush-web-identity.x"
KILLS = 4
OUTAGE_S = 60


class Aws:
    """moto with a bucket, a user who may read it and roles, behind a proxy."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        log = folder / "moto.log"
        self.process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(self.port)],
                                        stdout=open(log, "wb"), stderr=subprocess.STDOUT, cwd=folder)
        wait_for_port(self.port, self.process, log)
        self.iam, self.s3 = self.client("iam"), self.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        may_read = json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "s3:HeadObject"], "Resource": "*"}]})
        may_all = json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"}]})
        self.key = self.user("reader", may_read)
        self.admin = self.user("admin", may_all)
        for role in ("reader", "outsider"):
            trust = json.dumps({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": "*"}}]})
            self.iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        self.iam.put_role_policy(RoleName="reader", PolicyName="read", PolicyDocument=may_read)
        self.proxy = Proxy(self.port)
        self.proxy.answer = self.token_service
        self.sessions = []

    def client(self, service, key=("admin", "admin")):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, aws_access_key_id=key[0],
                            aws_secret_access_key=key[1], config=Config(s3={"addressing_style": "path"}))

    def user(self, name, policy):
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def session(self):
        """An access key of a role, as it stands in a secret."""
        self.check(False)
        role = f"arn:aws:iam::{ACCOUNT}:role/reader"
        given = self.client("sts").assume_role(RoleArn=role, RoleSessionName="given")["Credentials"]
        self.check(True)
        return {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"]}

    def check(self, whether):
        """Whether moto checks signatures and policies from now on."""
        body = b"0" if whether else b"1000000000"
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", body, {"content-type": "text/plain"})
        urllib.request.urlopen(request).read()

    def token_service(self, handler, body):
        """moto looks at no web identity, and wants STS calls signed once it checks signatures. So this looks at the token
        and at the name of the role, as AWS does, signs the call as an administrator, and passes it on."""
        form = dict(urllib.parse.parse_qsl(body.decode())) if handler.command == "POST" else {}
        if form.get("Action") != "AssumeRoleWithWebIdentity":
            return False
        assert "authorization" not in handler.headers
        self.sessions.append(form["RoleSessionName"])
        if form["WebIdentityToken"] != TOKEN or form["RoleArn"].endswith("/stranger"):
            text = (b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized "
                    + form["WebIdentityToken"].encode() + b"</Message></Error></ErrorResponse>")
            handler.send_response(403)
            handler.send_header("content-length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text)
            return True
        request = AWSRequest("POST", f"{self.url}/", {"content-type": handler.headers["content-type"]}, body)
        SigV4Auth(Credentials(*self.admin), "sts", REGION).add_auth(request)
        headers = {**dict(request.headers), "host": f"127.0.0.1:{self.port}", "content-length": str(len(body))}
        self.proxy.pass_on(handler, headers.items(), body)
        return True

    def put(self, key, body):
        self.check(False)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        self.check(True)


def large_rows():
    """More than two ranges: rows of a few words, and much white space that is not the same anywhere."""
    generator = random.Random(7)
    rows = [json.dumps(row) for row in colour_rows(16)]
    text = "".join(row + "".join(generator.choices(" \t", k=1_200_000)) + "\n" for row in rows).encode()
    assert len(text) > 2 * RANGE
    return text


def whole_jobs(aws, jobs, folder, rows):
    """By an access key, by a role and without anything, training and evaluation rows."""
    secret = jobs.secret("s3", {"aws_access_key_id": aws.key[0], "aws_secret_access_key": aws.key[1]})
    jobs.dataset("folder", f"s3://{BUCKET}/team/train/")
    jobs.dataset("eval", f"s3://{BUCKET}/team/eval.jsonl")
    by_key = {"awsS3Config": {"credentialsSecret": secret}}
    aws.proxy.hold_at("b.jsonl")
    job = jobs.create("by-key", "folder", evaluationDataset="eval", **by_key)
    assert job["awsS3Config"] == {"credentialsSecret": secret, "iamRoleArn": ""}, job
    assert aws.proxy.held.wait(60)
    assert jobs.state("by-key") == "CREATING_INPUT_DATASET"
    assert jobs.fetching()
    must_be_nowhere([aws.key[1]], folder / "data")
    aws.proxy.go.set()
    jobs.completed("by-key")
    assert not jobs.fetching()
    assert jobs.rows("by-key") == b"".join(rows[key] for key in sorted(rows) if key.startswith("team/train/"))
    assert jobs.rows("by-key", "eval") == rows["team/eval.jsonl"]
    aws.proxy.calm()
    # A key that is given for a while has a token.
    given = aws.session()
    session = jobs.secret("session", given)
    jobs.create("by-session", "eval", awsS3Config={"credentialsSecret": session})
    jobs.completed("by-session")
    must_be_nowhere([given["aws_secret_access_key"], given["aws_session_token"]], folder / "data")
    by_role = {"awsS3Config": {"iamRoleArn": f"arn:aws:iam::{ACCOUNT}:role/reader"}}
    jobs.create("by-role", "folder", **by_role)
    jobs.completed("by-role")
    assert aws.sessions[-1] == "hearth-default", aws.sessions
    # moto knows what is public, and cannot look at requests without a signature when it checks signatures.
    aws.check(False)
    jobs.create("not-public", "eval")
    jobs.failed("not-public", "PERMISSION_DENIED", f"s3://{BUCKET}/", "everybody")
    aws.s3.put_object_acl(Bucket=BUCKET, Key="team/eval.jsonl", ACL="public-read")
    aws.proxy.seen.clear()
    jobs.create("public", "eval")
    jobs.completed("public")
    aws.check(True)
    assert not any(signed for *_, signed in aws.proxy.seen), aws.proxy.seen
    model = jobs.server.request("POST", "/v1/chat/completions", {
        "model": "accounts/default/models/by-role", "max_tokens": 4,
        "messages": [{"role": "user", "content": "I have 2 pieces: each is a red ring."}]})
    assert model["choices"][0]["message"]["content"] is not None
    return by_key, by_role


def failures(aws, jobs, by_key):
    """Each at once, with the place and without a secret."""
    wrong = jobs.secret("wrong", {"aws_access_key_id": aws.key[0], "aws_secret_access_key": "hush-wrong"})
    jobs.create("wrong-key", "folder", awsS3Config={"credentialsSecret": wrong})
    jobs.failed("wrong-key", "PERMISSION_DENIED", f"s3://{BUCKET}/", "this access key")
    jobs.dataset("missing", f"s3://{BUCKET}/team/none.jsonl")
    jobs.create("missing", "missing", **by_key)
    jobs.failed("missing", "NOT_FOUND", f"s3://{BUCKET}/team/none.jsonl")
    jobs.dataset("nothing", f"s3://{BUCKET}/team/none/")
    jobs.create("nothing", "nothing", **by_key)
    jobs.failed("nothing", "NOT_FOUND", f"s3://{BUCKET}/team/none/")
    aws.put("odd//rows.jsonl", b"{}\n")
    jobs.dataset("odd", f"s3://{BUCKET}/odd/")
    jobs.create("odd", "odd", **by_key)
    jobs.failed("odd", "INVALID_ARGUMENT", f"s3://{BUCKET}/odd", "single slashes")
    for name, part in (("stranger", "AccessDenied"), ("outsider", f"s3://{BUCKET}/")):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        jobs.create(name, "folder", awsS3Config={"iamRoleArn": arn})
        job = jobs.failed(name, "PERMISSION_DENIED", part, "role")
        assert TOKEN not in json.dumps(job), job
    code, message = error_of(lambda: jobs.create("no-secret", "folder", awsS3Config={"credentialsSecret": "none"}))
    assert code == 5 and "none" in message, message
    jobs.secret("half", {"aws_access_key_id": "hush-half"})
    code, message = error_of(lambda: jobs.create("half", "folder", awsS3Config={"credentialsSecret": "half"}))
    assert code == 9 and "hush" not in message, message


def changed(aws, jobs, by_key, large):
    """A file that changes between two ranges; begun again, the job takes the new one."""
    jobs.dataset("large", f"s3://{BUCKET}/large.jsonl")
    aws.proxy.hold_at("large.jsonl", RANGE)
    jobs.create("changed", "large", **by_key)
    assert aws.proxy.held.wait(60)
    new = large[:-1] + b" \n"
    aws.put("large.jsonl", new)
    aws.proxy.go.set()
    jobs.failed("changed", "ABORTED", f"s3://{BUCKET}/large.jsonl")
    aws.put("large.jsonl", large)


def stopped(aws, jobs, by_key, large):
    """Cancelling ends the fetching process, resuming goes on behind the first range; a killed server does too."""
    aws.proxy.hold_at("large.jsonl", RANGE)
    jobs.create("stopped", "large", **by_key)
    assert aws.proxy.held.wait(60)
    jobs.verb("stopped", "cancel")
    wait("the process goes on", lambda: not jobs.fetching())
    assert jobs.state("stopped") == "CANCELLED"
    aws.proxy.go.set()
    aws.proxy.hold_at("large.jsonl", RANGE)
    aws.proxy.seen.clear()
    jobs.verb("stopped", "resume")
    assert aws.proxy.held.wait(60)
    jobs.server.kill()
    for pid in jobs.fetching():
        os.kill(pid, 9)
    aws.proxy.go.set()
    aws.proxy.calm()
    jobs.server.start()
    jobs.completed("stopped")
    assert jobs.rows("stopped") == large
    firsts = [first for _, path, first, _ in aws.proxy.seen if "large.jsonl" in path and first is not None]
    assert min(firsts) == RANGE and len(firsts) <= 4, firsts
    # A job that is deleted leaves neither process nor files.
    aws.proxy.hold_at("large.jsonl", RANGE)
    jobs.create("deleted", "large", **by_key)
    assert aws.proxy.held.wait(60)
    jobs.server.request("DELETE", f"/v1/accounts/default/supervisedFineTuningJobs/deleted")
    wait("the run stays", lambda: not jobs.run_dir("deleted").exists() and not jobs.fetching())
    aws.proxy.go.set()
    aws.proxy.calm()


def request_for(aws, proxy, key):
    """What the process is told that fetches one file."""
    return {"parts": [{"name": "train", "location": {"service": "s3", "bucket": BUCKET, "path": key}}],
            "aws": {"kind": "key", "id": aws.key[0], "secret": aws.key[1]}, "azure": {"kind": "public"},
            "services": {"s3": {"url": proxy.url, "region": REGION}, "sts": None, "azure": None,
                         "azure_identity": None, "ca_file": None}}


def trouble(aws, folder, large):
    """The process alone: one request in three fails, answers are slow, and it is killed all the while."""
    aws.proxy.fail_every, aws.proxy.piece_pause_s = 3, 0.001
    generator = random.Random(11)
    fetcher = Fetcher(folder / "killed", request_for(aws, aws.proxy, "large.jsonl"))
    for _ in range(KILLS):
        fetcher.start()
        time.sleep(generator.uniform(0.1, 0.5))
        fetcher.kill()
    assert fetcher.start().finish() == large
    assert not list((folder / "killed/data").glob("*.part"))
    aws.proxy.calm()


def outage(aws, folder, large):
    """The process alone: the service goes away behind the first range, for a minute. It goes on while other things do;
    what comes back looks at the end."""
    proxy = Proxy(aws.port)
    aws.put("outage.jsonl", large)
    proxy.hold_at("outage.jsonl", RANGE)
    fetcher = Fetcher(folder / "outage", request_for(aws, proxy, "outage.jsonl")).start()
    assert proxy.held.wait(60)
    proxy.down_until = time.monotonic() + OUTAGE_S
    proxy.go.set()

    def end():
        assert fetcher.finish() == large
        tries = (folder / "outage/trainer.log").read_text().count("trying again")
        assert tries > 5, tries
        must_be_in_events(folder / "outage", len(large))

    return end


def must_be_in_events(run_dir, size):
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "fetched" and events[-1]["bytes"] == size, events


def imports(aws, jobs, folder):
    """A model by the same role."""
    for path in (folder / "made/tiny").iterdir():
        aws.put(f"model/{path.name}", path.read_bytes())
    models = "/v1/accounts/default/models"
    jobs.server.request("POST", models, {"modelId": "copied", "model": {"kind": "HF_BASE_MODEL"}})
    source = {"s3Bucket": BUCKET, "s3Path": "model", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/reader"}
    name = jobs.server.request("POST", f"{models}/copied:import", {"awsS3Source": source})["name"]
    done = wait("the import does not end",
                lambda: (operation := jobs.server.request("GET", f"/v1/{name}"))["done"] and operation)
    assert done["response"]["state"] == "READY", done


def main():
    with scratch() as folder:
        aws = Aws(folder)
        try:
            rows = {"team/train/a.jsonl": rows_text(colour_rows(12)), "team/train/b.jsonl": rows_text(colour_rows(12, 1)),
                    "team/train/deep/c d.jsonl": rows_text(colour_rows(8, 2)), "team/train/README.txt": b"none of it",
                    "team/eval.jsonl": rows_text(colour_rows(8, 3))}
            large = large_rows()
            for key, body in {**rows, "large.jsonl": large}.items():
                aws.put(key, body)
            del rows["team/train/README.txt"]
            install_base(folder)
            # What moto keeps is not the server's; its log is.
            token = folder / "token"
            token.write_text(TOKEN + "\n")
            os.chmod(token, 0o600)
            server = Server(folder / "data", "--s3-endpoint", aws.proxy.url, "--s3-region", REGION,
                            "--aws-web-identity-token-file", token, "--aws-sts-endpoint", aws.proxy.url, base=False)
            jobs = Jobs(server.start())
            outage_end = outage(aws, folder, large)
            try:
                by_key, _ = whole_jobs(aws, jobs, folder, rows)
                failures(aws, jobs, by_key)
                changed(aws, jobs, by_key, large)
                stopped(aws, jobs, by_key, large)
                imports(aws, jobs, folder)
                must_be_nowhere([aws.key[1], "hush-wrong", TOKEN], folder / "data")
            finally:
                server.stop()
            trouble(aws, folder, large)
            digest = hashlib.sha256(large).hexdigest()[:8]
            without_role(folder)
            outage_end()
        finally:
            aws.process.kill()
    print(f"datasets_s3: jobs trained on rows in S3 by key, role and in public; {KILLS} kills left {digest} whole")


def without_role(folder):
    """A server that nobody gave an identity says what the operator must do."""
    jobs = Jobs(server := Server(folder / "data", base=False).start())
    try:
        arn = f"arn:aws:iam::{ACCOUNT}:role/reader"
        code, message = error_of(lambda: jobs.create("no-role", "folder", awsS3Config={"iamRoleArn": arn}))
        assert code == 9 and "--aws-web-identity-token-file" in message, message
    finally:
        server.stop()


if __name__ == "__main__":
    main()
