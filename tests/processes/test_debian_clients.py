"""What the clients that people use do all day, at one datacenter and looked at in another:
rclone, restic, s3cmd and s3fs, as Debian has them."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from process_kit import all_keys, eventually
from tools_kit import Tools, grow, needed, tree

pytestmark = pytest.mark.process


@pytest.fixture
def tools(two, tmp_path: Path) -> Tools:
    home = tmp_path / "home"
    home.mkdir()
    return Tools(home, two.keys)


def settled(two, bucket: str) -> None:
    """Wait until both datacenters list the same keys."""

    def same() -> bool:
        if bucket not in str(two.at_tokyo.list_buckets()["Buckets"]):
            return False
        return all_keys(two.at_tokyo, bucket) == all_keys(two.at_paris, bucket)

    eventually(f"{bucket} is the same at both", same, 60)


def test_rclone_syncs_checks_and_hashes(two, tools, tmp_path):
    source = grow(tmp_path / "source", 11, large=12_000_000)
    dcs = {"paris": two.paris, "tokyo": two.tokyo}
    tools.rclone("mkdir", "paris:rclone", **dcs)
    tools.rclone("sync", source, "paris:rclone/tree", **dcs)
    settled(two, "rclone")
    tools.rclone("check", "--download", source, "tokyo:rclone/tree", **dcs)
    tools.rclone("check", source, "tokyo:rclone/tree", **dcs)
    sums = tools.rclone("hashsum", "MD5", "tokyo:rclone/tree", **dcs)
    want = tools.rclone("hashsum", "MD5", source)
    assert sorted(sums.splitlines()) == sorted(want.splitlines())
    assert len(sums.splitlines()) == len(tree(source))
    (source / "large.bin").unlink()
    changed = next(source.rglob("file-7 *"))
    changed.write_bytes(b"changed")
    tools.rclone("check", source, "paris:rclone/tree", code=1, **dcs)
    tools.rclone("sync", source, "paris:rclone/tree", **dcs)
    target = tmp_path / "target"
    tools.rclone("sync", "paris:rclone/tree", target, **dcs)
    assert tree(target) == tree(source)
    listed = json.loads(tools.rclone("lsjson", "-R", "--files-only", "paris:rclone/tree", **dcs))
    assert {each["Path"]: each["Size"] for each in listed} == {
        name: len(data) for name, data in tree(source).items()
    }
    assert "large.bin" not in tree(target)
    tools.rclone("purge", "paris:rclone", **dcs)
    assert "rclone" not in tools.rclone("lsd", "paris:", **dcs)


def test_rclone_copies_on_the_server_and_keeps_times(two, tools, tmp_path):
    file = tmp_path / "one.bin"
    file.write_bytes(bytes(range(256)) * 30_000)
    tools.rclone("mkdir", "paris:rcopy", paris=two.paris)
    tools.rclone("copyto", file, "paris:rcopy/a/one.bin", paris=two.paris)
    tools.rclone("copyto", "paris:rcopy/a/one.bin", "paris:rcopy/b ü/two.bin", paris=two.paris)
    tools.rclone("moveto", "paris:rcopy/a/one.bin", "paris:rcopy/three.bin", paris=two.paris)
    assert all_keys(two.at_paris, "rcopy") == {"b ü/two.bin", "three.bin"}
    back = tmp_path / "back.bin"
    tools.rclone("copyto", "paris:rcopy/three.bin", back, paris=two.paris)
    assert back.read_bytes() == file.read_bytes()
    assert abs(back.stat().st_mtime - file.stat().st_mtime) < 0.001
    part = ("--offset", "65", "--count", "3", "paris:rcopy/three.bin")
    assert tools.rclone("cat", *part, paris=two.paris) == "ABC"
    tools.rclone("purge", "paris:rcopy", paris=two.paris)


def test_rclone_shows_old_versions(two, tools, tmp_path):
    tools.rclone("mkdir", "paris:rversions", paris=two.paris)
    two.at_paris.put_bucket_versioning(
        Bucket="rversions", VersioningConfiguration={"Status": "Enabled"}
    )
    file = tmp_path / "file.txt"
    for text in ("first", "second, longer"):
        file.write_text(text)
        tools.rclone("copyto", file, "paris:rversions/file.txt", paris=two.paris)
    tools.rclone("deletefile", "paris:rversions/file.txt", paris=two.paris)
    assert tools.rclone("lsf", "paris:rversions", paris=two.paris) == ""
    names = tools.rclone("lsf", "--s3-versions", "paris:rversions", paris=two.paris).splitlines()
    assert len(names) == 2 and all(name.startswith("file-v") for name in names)
    texts = {
        tools.rclone("cat", "--s3-versions", f"paris:rversions/{name}", paris=two.paris)
        for name in names
    }
    assert texts == {"first", "second, longer"}


def test_restic_backs_up_prunes_checks_and_restores(two, tools, tmp_path):
    source = grow(tmp_path / "source", 12, large=9_000_000)
    tools.restic(two.paris, "restic", "init")
    tools.restic(two.paris, "restic", "backup", source)
    first = tree(source)
    (source / "large.bin").unlink()
    grow(source / "more", 13)
    tools.restic(two.paris, "restic", "backup", source)
    snapshots = json.loads(tools.restic(two.paris, "restic", "snapshots", "--json"))
    assert len(snapshots) == 2
    settled(two, "restic")
    tools.restic(two.tokyo, "restic", "check", "--read-data", "--no-lock")
    for snapshot, want in zip(snapshots, (first, tree(source)), strict=True):
        target = tmp_path / snapshot["short_id"]
        tools.restic(
            two.tokyo, "restic", "restore", snapshot["id"], "--target", target, "--no-lock"
        )
        assert tree(target / str(source).lstrip("/")) == want
    before = two.at_paris.list_objects_v2(Bucket="restic", Prefix="data/")
    tools.restic(two.paris, "restic", "forget", "--keep-last", "1", "--prune")
    after = two.at_paris.list_objects_v2(Bucket="restic", Prefix="data/")
    size = [sum(each["Size"] for each in page["Contents"]) for page in (before, after)]
    assert size[1] < size[0] - 8_000_000, "what only the first snapshot had is gone"
    tools.restic(two.paris, "restic", "check", "--read-data")
    target = tmp_path / "again"
    tools.restic(two.paris, "restic", "restore", "latest", "--target", target)
    assert tree(target / str(source).lstrip("/")) == tree(source)


def test_s3cmd_puts_syncs_copies_and_deletes(two, tools, tmp_path):
    source = grow(tmp_path / "source", 14, large=17_000_000)
    tools.s3cmd(two.paris, "mb", "s3://s3cmd")
    tools.s3cmd(two.paris, "sync", f"{source}/", "s3://s3cmd/tree/")
    listed = tools.s3cmd(two.paris, "ls", "--recursive", "s3://s3cmd")
    assert {line.partition("s3://s3cmd/tree/")[2] for line in listed.splitlines()} == set(
        tree(source)
    )
    settled(two, "s3cmd")
    target = tmp_path / "target"
    target.mkdir()
    tools.s3cmd(two.tokyo, "sync", "s3://s3cmd/tree/", f"{target}/")
    assert tree(target) == tree(source)
    tools.s3cmd(two.paris, "cp", "s3://s3cmd/tree/large.bin", "s3://s3cmd/copy ß.bin")
    tools.s3cmd(two.paris, "mv", "s3://s3cmd/copy ß.bin", "s3://s3cmd/moved.bin")
    tools.s3cmd(two.paris, "get", "s3://s3cmd/moved.bin", tmp_path / "moved")
    assert (tmp_path / "moved").read_bytes() == (source / "large.bin").read_bytes()
    info = tools.s3cmd(two.paris, "info", "s3://s3cmd/moved.bin")
    assert "File size: 17000000" in info
    (source / "large.bin").unlink()
    tools.s3cmd(two.paris, "sync", "--delete-removed", f"{source}/", "s3://s3cmd/tree/")
    assert all_keys(two.at_paris, "s3cmd", "tree/") == {f"tree/{name}" for name in tree(source)}
    tools.s3cmd(two.paris, "rb", "--recursive", "--force", "s3://s3cmd")
    assert "s3cmd" not in tools.s3cmd(two.paris, "ls")


@pytest.fixture
def mounted(two, tools, tmp_path):
    """A bucket as a folder, by s3fs."""
    s3fs = needed("s3fs")
    if not Path("/dev/fuse").exists():
        pytest.skip("/dev/fuse is not there: nothing can be mounted here")
    two.at_paris.create_bucket(Bucket="mounted")
    folder, secret = tmp_path / "mounted", tmp_path / "passwd"
    folder.mkdir()
    secret.write_text(f"{two.keys['access_key']}:{two.keys['secret_key']}")
    secret.chmod(0o600)
    log = (tmp_path / "s3fs.log").open("wb")
    process = subprocess.Popen(
        [
            s3fs, "mounted", folder, "-f", "-o", f"passwd_file={secret}",
            "-o", f"url=http://127.0.0.1:{two.paris.s3_port}", "-o", "use_path_request_style",
            "-o", "endpoint=us-east-1", "-o", "multipart_size=5",
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    log.close()
    deadline = time.monotonic() + 20
    while not folder.is_mount():
        said = (tmp_path / "s3fs.log").read_text()
        if process.poll() is not None and "fuse:" in said:
            pytest.skip(f"nothing can be mounted here: {said.strip()[-200:]}")
        assert process.poll() is None and time.monotonic() < deadline, said
        time.sleep(0.1)
    try:
        yield folder
    finally:
        subprocess.run(["fusermount", "-u", folder], check=False, capture_output=True)
        process.terminate()
        process.wait(10)


def test_s3fs_mounts_a_bucket_as_a_folder(two, mounted, tmp_path):
    source = grow(tmp_path / "source", 15, files=8, large=11_000_000)
    subprocess.run(["cp", "-r", f"{source}/.", mounted], check=True, timeout=120)
    assert tree(mounted) == tree(source)
    found = {key for key in all_keys(two.at_paris, "mounted") if not key.endswith("/")}
    assert found == set(tree(source))
    (mounted / "large.bin").rename(mounted / "renamed.bin")
    with (mounted / "renamed.bin").open("ab") as file:
        file.write(b"the end")
    (mounted / "dir 0" / "sub").mkdir()
    (mounted / "dir 0" / "sub" / "deep.txt").write_text("deep")
    want = (source / "large.bin").read_bytes() + b"the end"
    got = two.at_paris.get_object(Bucket="mounted", Key="renamed.bin")["Body"].read()
    assert got == want
    two.at_paris.put_object(Bucket="mounted", Key="from outside.txt", Body=b"outside")
    assert (mounted / "from outside.txt").read_bytes() == b"outside"
    for path in sorted(mounted.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert all_keys(two.at_paris, "mounted") == set()
