"""Pictures, lists, zips and prepared folders that mean harm are refused in one sentence, and nothing outside of their folder is read."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny
from making import edit_line, encoded, make_celeba, make_mtfl, picture
from PIL import Image

from smtn_keras.data import images, published, shards
from smtn_keras.data.celeba import CelebA
from smtn_keras.data.images import normalised_bytes, read_image
from smtn_keras.data.mtfl import Mtfl
from smtn_keras.data.prepared import open_prepared, prepared_folder
from smtn_keras.data.published import Pictures, read_lines
from smtn_keras.errors import UserError, clean_exit


def refused(expected, call, *arguments):
    """The message of a refusal, one printable line that matches."""
    with pytest.raises(UserError, match=expected) as caught:
        call(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- what a message may hold ------------------------------------------------------------------------


def test_a_message_is_one_printable_line_of_bounded_length(capsys):
    with pytest.raises(SystemExit) as end, clean_exit():
        raise UserError("expected a name, got 'a\n\x1b[2J\u2028\ud800é'; correct it")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: expected a name, got 'a\\n\\x1b[2J\\u2028\\ud800é'; correct it\n"
    long = UserError("expected " + "x" * 10_000_000 + "; correct it")
    assert len(str(long)) < 3000 and str(long).startswith("expected x") and str(long).endswith("x; correct it")
    assert str(pickle.loads(pickle.dumps(long))).endswith("; correct it")


# -- pictures ---------------------------------------------------------------------------------------


def png(width, height, depth, colour, rows, *chunks):
    """A PNG with more chunks than Pillow would write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    more = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty", "fifo"])
def test_a_pipe_or_device_is_not_waited_for(device, tmp_path):
    if device == "fifo":
        device = tmp_path / "face.jpg"
        os.mkfifo(device)
    elif not os.path.exists(device):
        pytest.skip(f"no {device} here")
    refused("expected an image file, got '(a pipe or a device|No such device or address)'; check the path", read_image, device)


def test_a_file_is_not_read_beyond_its_limit(tmp_path, monkeypatch):
    (tmp_path / "face.jpg").write_bytes(encoded(picture(0)))
    monkeypatch.setattr(images, "MAX_BYTES", (tmp_path / "face.jpg").stat().st_size)
    assert read_image(tmp_path / "face.jpg").shape == (218, 178, 3)
    monkeypatch.setattr(images, "MAX_BYTES", images.MAX_BYTES - 1)
    refused(r"face\.jpg: expected an image file, got 'more than [\d.]+ MB'", read_image, tmp_path / "face.jpg")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    refused(r"sparse\.jpg: expected an image file, got 'more than", read_image, tmp_path / "sparse.jpg")


@pytest.mark.parametrize("name", ["face\0.jpg", "\ud800.jpg", "x" * 5000])
def test_names_that_no_file_can_have(name):
    refused("expected an image file, got", read_image, name)


ROW = b"\0" + bytes(12)
TEXT = b"Comment\0\0" + zlib.compress(bytes(50_000_000))
HOSTILE = {
    "text that unfolds to 50 MB": (png(4, 1, 8, 2, ROW, (b"zTXt", TEXT)), "cut-off or damaged"),
    "profile that unfolds to 50 MB": (png(4, 1, 8, 2, ROW, (b"iCCP", TEXT)), "cut-off or damaged"),
    "rows that unfold to 50 MB": (png(4, 1, 8, 2, bytes(50_000_000)), None),
    "a JPEG of 2000 scans": (None, "too many scans"),
    "a JPEG that says it is larger": (encoded(picture(0)).replace(b"\0\xda\0\xb2", b"\xff\xff\xff\xff", 1), "at most 100 megapixels"),
    "a TIFF in a circle": (b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x04\0\0\0\x08\0\0\0", "begins with"),
    "a GIF of no pixels": (b"GIF89a\0\0\0\0\0\0\0;", "begins with"),
    "a PPM of a billion pixels": (b"P6 100000 100000 255\n", "at most 100 megapixels"),
    "a PPM with a number of 5000 digits": (b"P6 " + b"9" * 5000 + b" 1 255\n", "cut-off or damaged|begins with"),
    "floats that are none": (encoded(Image.fromarray(np.float32([[0, np.nan], [1, 0]])), "TIFF"), "no numbers|values beyond"),
    "a PDF": (b"%PDF-1.7\n", "begins with b'%PDF-1.7'"),
    "a video": (b"\0\0\0\x18ftypmp42", "begins with"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an HTML page"),
    "a zip": (b"PK\x03\x04" + bytes(30), "begins with"),
}


def many_scans():
    """A progressive JPEG with its last scan 2000 times."""
    data = encoded(picture(0, (1000, 1000)), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 2000 + data[-2:]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_picture_is_refused_or_small(case):
    data, came = HOSTILE[case]
    data = data or many_scans()
    for read in (read_image, normalised_bytes):
        if came:
            refused(rf"^face: expected .*({came})", read, data, "face")
        else:
            read(data, "face")


def test_damaged_exif_of_any_kind_is_no_fault():
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(1000):
        exif[0x9000 + i] = "x" * 20
    data = encoded(picture(0, (40, 30)), exif=exif)
    assert read_image(data).shape == (40, 30, 3)
    start = data.index(b"Exif\0\0") + 14
    for value in (b"\xff\xff", b"\x00\x00", b"\x41\x41"):  # of how many tags there are
        assert read_image(data[:start] + value + data[start + 2 :]).shape[2] == 3


def test_strips_make_the_whole_picture(monkeypatch):
    whole = picture(3, (33, 41))
    expected = np.array(whole)
    monkeypatch.setattr(images, "_STRIP", 70)  # two rows
    np.testing.assert_array_equal(read_image(encoded(whole, "PNG")), expected)
    deep = Image.fromarray(np.arange(41 * 33, dtype=np.uint16).reshape(41, 33) * 40)
    grey = np.rint(np.asarray(deep) * (255 / 65535)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(encoded(deep, "TIFF"))[..., 1], grey)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "F"])
def test_the_largest_picture_takes_less_than_a_gigabyte(mode, tmp_path):
    """In a process of its own, as memory that another test took and gave back would hide the growth."""
    file = tmp_path / "large.tiff"
    Image.new(mode, (10_000, 10_000)).save(file, "TIFF", compression="tiff_deflate")
    code = """if True:
        import resource, sys
        from smtn_keras.data.images import read_image
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert read_image(sys.argv[1]).shape == (10_000, 10_000, 3)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
    """
    answer = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert float(answer.stdout) < 1000


# -- lists ------------------------------------------------------------------------------------------


def celeba(folder):
    return CelebA(source=folder, data_dir=folder / "data").splits()


def mtfl(folder):
    return Mtfl(source=folder, data_dir=folder / "data").splits()


@pytest.fixture
def faces_like_celeba(tmp_path):
    make_celeba(tmp_path / "celeba")
    return tmp_path / "celeba"


@pytest.fixture
def faces_like_mtfl(tmp_path):
    make_mtfl(tmp_path / "mtfl")
    return tmp_path / "mtfl"


@pytest.mark.parametrize(
    ("line", "came"),
    [
        ("x" * 10_000_000, r"line 3: expected at most 10,000 characters, got 10,000,\d+"),
        ("\0", "expected a list of annotations, got a binary file"),
        ("NaN", r"line 3: expected (finite numbers, got NaN|numbers, got)"),
        ("inf", r"line 3: expected (finite numbers, got NaN or infinity|numbers, got)"),
        ("1e999", "expected finite numbers, got NaN or infinity"),
        ("\u2028", "expected"),
        ("\ud800", "expected numbers, got"),
        ("1" * 5000, "expected finite numbers, got NaN or infinity"),
    ],
)
@pytest.mark.parametrize("list_name", ["list_attr_celeba.txt", "list_landmarks_align_celeba.txt"])
def test_a_hostile_value_in_a_list(list_name, line, came, faces_like_celeba):
    path = faces_like_celeba / list_name
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].rstrip().rpartition(b" ")[0] + b" " + line.encode(errors="surrogatepass")
    path.write_bytes(b"\n".join(lines))
    refused(came, celeba, faces_like_celeba)


@pytest.mark.parametrize("count", ["²", "9" * 5000, "-3", "1e3", "0x3", ""])
def test_a_hostile_number_of_pictures(count, faces_like_celeba):
    path = faces_like_celeba / "list_attr_celeba.txt"
    path.write_text("\n".join([count, *path.read_text().split("\n")[1:]]))
    refused("expected the number of pictures in line 1, got", celeba, faces_like_celeba)


def test_a_list_without_end(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.txt")
    refused("expected a list of annotations, got 'a pipe or a device'", read_lines, tmp_path / "pipe.txt", "there")
    (tmp_path / "long.txt").write_bytes(b"\n" * 3_000_000 + b"x")
    refused("expected a list of at most 2,000,000 lines, got 3,000,000", read_lines, tmp_path / "long.txt", "there")
    monkeypatch.setattr(published, "MAX_LIST", 10)
    refused("got 'more than 1e-05 MB'", read_lines, tmp_path / "long.txt", "there")


def test_only_line_feeds_end_a_line(tmp_path):
    (tmp_path / "list.txt").write_bytes("a\u2028b 1\r\nc\x0bd 2\n\n".encode())
    assert read_lines(tmp_path / "list.txt", "there") == ["a\u2028b 1", "c\x0bd 2"]


@pytest.mark.parametrize("name", ["../secret.jpg", "AFLW/../../secret.jpg", "{absolute}", "AFLW\\..\\..\\secret.jpg", "AFLW/link.jpg"])
def test_a_list_of_mtfl_does_not_lead_out_of_the_folder(name, faces_like_mtfl):
    secret = faces_like_mtfl.parent / "secret.jpg"
    secret.write_bytes(encoded(picture(0)))
    (faces_like_mtfl / "AFLW/link.jpg").symlink_to(secret)
    edit_line(faces_like_mtfl / "testing.txt", 1, "AFLW\\0000-image.jpg", name.format(absolute=secret))
    came = refused("mtfl: expected files in this folder, got '.*', which leads out of it; correct the list", mtfl, faces_like_mtfl)
    assert name.format(absolute=secret).replace("\\", "/") in came


@pytest.mark.parametrize("name", ["x" * 3000, "AFLW/\x1b[2J.jpg", "AFLW", "."])
def test_a_list_of_mtfl_with_names_of_no_file(name, faces_like_mtfl):
    edit_line(faces_like_mtfl / "testing.txt", 1, "AFLW\\0000-image.jpg", name)
    refused("expected the 6 pictures of testing.txt, 1 are missing", mtfl, faces_like_mtfl)


@pytest.mark.parametrize("name", ["../secret.jpg", "{absolute}"])
def test_a_list_of_celeba_does_not_lead_out_of_the_folder(name, faces_like_celeba):
    secret = faces_like_celeba / "secret.jpg"
    secret.write_bytes(encoded(picture(0)))
    for file in faces_like_celeba.glob("list_*.txt"):
        file.write_text(file.read_text().replace("000001.jpg", name.format(absolute=secret)))
    refused("expected the 12 pictures of list_attr_celeba.txt, 1 are missing, the first is .*secret.jpg", celeba, faces_like_celeba)


def test_links_within_a_folder_are_followed_and_others_refused(faces_like_celeba):
    pictures = faces_like_celeba / "img_align_celeba"
    (pictures / "000001.jpg").rename(pictures / "first.jpg")
    (pictures / "000001.jpg").symlink_to("first.jpg")
    assert len(list(celeba(faces_like_celeba)["train"])) == 4
    secret = faces_like_celeba.parent / "secret.jpg"
    (pictures / "first.jpg").rename(secret)
    (pictures / "000001.jpg").unlink()
    (pictures / "000001.jpg").symlink_to(secret)
    refused("img_align_celeba: expected files in this folder, got '000001.jpg', which leads out of it", celeba, faces_like_celeba)
    (pictures / "000001.jpg").unlink()
    (pictures / "000001.jpg").symlink_to("000001.jpg")  # a circle
    refused("1 are missing, the first is 000001.jpg", celeba, faces_like_celeba)


@pytest.mark.parametrize("what", ["img_align_celeba", "list_attr_celeba.txt"])
def test_a_list_or_folder_that_is_a_link_out_is_refused(what, faces_like_celeba):
    elsewhere = faces_like_celeba.parent / what
    (faces_like_celeba / what).rename(elsewhere)
    (faces_like_celeba / what).symlink_to(elsewhere)
    refused(f"celeba: expected files in this folder, got '{what}', which leads out of it", celeba, faces_like_celeba)


def test_a_pipe_among_the_pictures_is_not_waited_for(faces_like_celeba):
    file = faces_like_celeba / "img_align_celeba" / "000001.jpg"
    file.unlink()
    os.mkfifo(file)
    refused("1 are missing, the first is 000001.jpg", celeba, faces_like_celeba)


# -- zips -------------------------------------------------------------------------------------------


def pictures_in(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return Pictures(path, "the publisher")


def test_nothing_of_a_zip_is_written(tmp_path):
    (tmp_path / "in").mkdir()
    data = encoded(picture(0))
    pictures = pictures_in(tmp_path / "in" / "a.zip", {"../../000001.jpg": data, "/000002.jpg": data, "a/../000003.jpg": data})
    pictures.check_all_there(["000001.jpg", "000002.jpg", "000003.jpg"], Path("list.txt"))
    assert pictures.read("000001.jpg") == pictures.read("000003.jpg") == data
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_a_member_that_says_it_is_huge(tmp_path):
    pictures = pictures_in(tmp_path / "a.zip", {"000001.jpg": bytes(images.MAX_BYTES + 1)})
    assert (tmp_path / "a.zip").stat().st_size < 1_000_000
    refused("expected to read 000001.jpg in this zip, got 'more than 250 MB'", pictures.read, "000001.jpg")


@pytest.mark.parametrize("said", [10, 1000])
def test_a_member_that_says_it_is_small(said, tmp_path):
    path = tmp_path / "a.zip"
    pictures_in(path, {"000001.jpg": bytes(100_000_000)})
    data = path.read_bytes()
    assert data.count(struct.pack("<I", 100_000_000)) == 2
    path.write_bytes(data.replace(struct.pack("<I", 100_000_000), struct.pack("<I", said)))
    tracemalloc.start()
    refused("expected to read 000001.jpg in this zip, got 'Bad CRC-32", Pictures(path, "there").read, "000001.jpg")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_packing_of_any_ratio_is_refused(tmp_path):
    pictures = pictures_in(tmp_path / "a.zip", {"000001.jpg": bytes(1000)}, zipfile.ZIP_BZIP2)
    refused("got 'a compression other than deflate'", pictures.read, "000001.jpg")


def test_a_member_without_a_name_is_no_picture(tmp_path):
    """Found by the fuzzer: Python ends a member's name at its first null, and does not expect nothing before it."""
    data = encoded(picture(1))
    pictures_in(tmp_path / "a.zip", {"unnamed": b"something", "000001.jpg": data})
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"unnamed", b"\0nnamed"))
    pictures = Pictures(tmp_path / "a.zip", "the publisher")
    assert pictures.read("000001.jpg") == data
    refused("the first is 000002.jpg", pictures.check_all_there, ["000001.jpg", "000002.jpg"], Path("list.txt"))


def test_a_zip_that_is_a_pipe_or_a_link_is_refused(tmp_path):
    make_celeba(tmp_path / "celeba", "zip")
    path = tmp_path / "celeba" / "img_align_celeba.zip"
    path.rename(tmp_path / "a.zip")
    path.symlink_to(tmp_path / "a.zip")
    refused("got 'img_align_celeba.zip', which leads out of it", celeba, tmp_path / "celeba")
    path.unlink()
    os.mkfifo(path)
    refused("expected a zip, got a pipe or a device", celeba, tmp_path / "celeba")


# -- prepared folders -------------------------------------------------------------------------------


@pytest.fixture
def prepared(tiny_dir, tmp_path):
    """The folder of a copy of the tiny data set."""
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    return Path(prepared_folder("tiny", tmp_path))


def open_tiny(folder):
    return open_prepared("tiny", folder.parents[1])


def change(file, *path, value):
    content = json.loads(file.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_prepared_folder_does_not_name_code_to_import(legacy, prepared, tmp_path, monkeypatch):
    (tmp_path / "evil_feature.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    if legacy:
        nested = {"type": "evil_feature.Evil", "content": {}}
        value = {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict"}
        value["jsonFeature"] = {"json": json.dumps({"name": nested})}
        (prepared / "features.json").write_text(json.dumps(value))
    else:
        change(prepared / "features.json", "featuresDict", "features", "name", "pythonClassName", value="evil_feature.Evil")
    refused(r"features\.json names evil_feature\.Evil, which is none of TFDS's features", open_tiny, prepared)


@pytest.mark.parametrize("template", ["../../elsewhere", "/etc/passwd", "../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"])
def test_a_prepared_folder_does_not_lead_out(template, prepared):
    change(prepared / "dataset_info.json", "splits", 0, "filepathTemplate", value=template)
    refused("expected a whole prepared data set, got a damaged one", open_tiny, prepared)


def test_a_link_in_a_prepared_folder_does_not_lead_out(prepared, tmp_path):
    records = next(prepared.glob("*train*"))
    records.rename(tmp_path / "records")
    records.symlink_to(tmp_path / "records")
    refused(r"damaged one \(.* leads out of it\)", open_tiny, prepared)


@pytest.mark.parametrize(
    "tasks", [[], {}, "landmarks", [{"kind": "boxes"}], [{"kind": "landmarks", "points": "abc"}], [{"kind": "attributes", "labels": []}]]
)
def test_a_prepared_folder_with_other_tasks(tasks, prepared):
    change(prepared / "metadata.json", "tasks", value=tasks)
    refused("expected a whole prepared data set, got a damaged one", open_tiny, prepared)


def test_tasks_of_another_size_than_the_records(prepared):
    labels = json.loads((prepared / "metadata.json").read_text())["tasks"]
    labels[1]["labels"].pop()
    change(prepared / "metadata.json", "tasks", value=labels)
    refused("its records have other attributes than its metadata say", open_tiny, prepared)


def test_a_damaged_record_in_the_middle(prepared):
    records = next(prepared.glob("*train*"))
    data = bytearray(records.read_bytes())
    data[len(data) // 3] ^= 1
    records.write_bytes(data)
    refused("damaged one .*; delete it and prepare it again", open_tiny(prepared).targets, "train")


def test_a_record_whose_picture_is_none():
    from smtn_keras.data.pipeline import Picture

    refused("^face: expected a picture in the prepared data set", Picture(32), {"name": b"face", "image": b"no picture"})


# -- preparing --------------------------------------------------------------------------------------


class Run:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (os.environ["SMTN_HOSTILE"],)


def test_an_exchanged_order_is_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv("SMTN_HOSTILE", str(tmp_path / "made"))
    shard = shards.Shard(tmp_path / "tiny-train", [], None, tiny.TASKS, 0.5)
    with shards._orders([shard]) as [order]:
        assert pickle.loads(Path(order.file).read_bytes()) == shard
        Path(order.file).write_bytes(pickle.dumps(Run()))
        refused(r"tiny-train\.order: expected what this preparation wrote, got something else", shards._fulfil, order)
    assert not (tmp_path / "made").exists()
