"""A place in an object store by itself: what others build on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from finops_pipeline.lake.bucket import Bucket as Store
from finops_pipeline.lake.objects import ObjectPlace
from finops_pipeline.lake.place import StoreFailing, StoreRefused
from finops_pipeline_tests.objects.bucket import Bucket
from finops_pipeline_tests.servers.s3 import SECRET

NAME = "x=a%20b/y=ü ?#%/f.parquet"


@pytest.fixture
def place(bucket: Bucket, tmp_path: Path) -> ObjectPlace:
    return ObjectPlace(Store(bucket.home, tmp_path / "spool"))


def test_names_are_kept_as_they_are(place: ObjectPlace, bucket: Bucket, tmp_path: Path) -> None:
    place.below("lake").write(NAME, b"one")
    assert list(bucket.objects()) == [f"lake/{NAME}"]
    assert place.below("lake").names() == [NAME] and place.names() == [f"lake/{NAME}"]
    assert place.below("lake").read(NAME) == b"one"
    with place.local(f"lake/{NAME}") as copy:
        assert copy.read_bytes() == b"one" and copy.name == "f.parquet"
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_large_file_arrives_whole_in_parts(
    place: ObjectPlace, bucket: Bucket, tmp_path: Path
) -> None:
    content = b"".join(sha256(str(i).encode()).digest() for i in range(600_000))  # 19 MB
    (tmp_path / "large").write_bytes(content)
    place.publish({"large": tmp_path / "large"})
    assert not (tmp_path / "large").exists()
    assert bucket.read("large") == content and place.size("large") == len(content)


def test_threads_that_share_an_open_file_get_their_own_bytes(place: ObjectPlace) -> None:
    content = bytes(range(256)) * 4_000
    place.write("shared", content)
    file = place.source("shared")
    together = threading.Barrier(8)

    def read(i: int) -> bool:
        together.wait()
        file.seek(i * 1000)
        return file.read(1000) == content[i * 1000 : (i + 1) * 1000]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(64)))


def test_one_of_many_creates(place: ObjectPlace) -> None:
    with ThreadPoolExecutor(8) as threads:
        for n in range(5):
            made = list(threads.map(lambda i, n=n: place.create(f"c{n}", bytes([i])), range(8)))
            assert made.count(True) == 1
            assert place.read(f"c{n}") == bytes([made.index(True)])


def test_a_claim_is_one_s_until_it_is_given_back_or_too_old(bucket: Bucket, tmp_path: Path) -> None:
    one, two = (ObjectPlace(Store(bucket.home, tmp_path)) for _ in range(2))
    lease = timedelta(minutes=15)
    assert one.claim("c", lease) and not two.claim("c", lease) and not one.claim("c", lease)
    one.release("c")
    assert two.claim("c", lease)
    assert one.claim("c", timedelta(seconds=-5)), "its holder has died"
    assert not two.claim("c", lease)


def test_what_is_missing_is_a_missing_file(place: ObjectPlace) -> None:
    assert not place.holds("none")
    for asked in (place.size, place.read, place.source):
        with pytest.raises(FileNotFoundError):
            asked("none")
    with pytest.raises(FileNotFoundError), place.local("none"):
        pass


def test_a_store_that_recovers_is_asked_again(place: ObjectPlace, bucket: Bucket) -> None:
    for n in range(3):
        bucket.server.fail(3)
        place.write(f"w{n}", b"1")
        bucket.server.fail(3)
        assert place.read(f"w{n}") == b"1"
    bucket.server.fail(2)
    assert place.create("new", b"1") and not place.create("new", b"2")


def test_who_is_refused_is_told_what_to_do(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        with pytest.raises(StoreRefused) as found:
            Store(bucket.home, tmp_path).check()
        assert SECRET not in str(found.value) and "another-word" not in str(found.value)
        return str(found.value)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAANOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-word")
    assert "InvalidAccessKeyId" in refused() and "may these credentials" in refused()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no AWS credentials: set AWS_ACCESS_KEY_ID" in refused()


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket, tmp_path: Path) -> None:
    store = Store("s3://bills-that-are-not-there/x", tmp_path)
    for asked in (store.check, lambda: ObjectPlace(store).write("a", b"")):
        with pytest.raises(StoreRefused, match="NoSuchBucket"):
            asked()


def test_a_profile_is_enough(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = bucket.server.environment
    (tmp_path / "credentials").write_text(
        f"[bills]\naws_access_key_id = {environment['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {SECRET}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "bills")
    store = Store(bucket.home, tmp_path)
    ObjectPlace(store).write("a", b"1")
    assert bucket.read("a") == b"1"
    assert store.delta_options()["aws_secret_access_key"] == SECRET


def test_nobody_there_is_a_store_that_fails(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("finops_pipeline.lake.bucket._RETRIES", {"max_retries": 1})
    with pytest.raises(StoreFailing, match="run again when it is reachable"):
        Store(bucket.home, tmp_path).check()
