"""The page in a real browser: a photo goes in, points come out, and nothing leaves this machine."""

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import struct
import threading
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from smtn_keras import faces, web
from smtn_keras.data.celeba import FIVE_POINTS
from smtn_keras.data.pipeline import resize
from smtn_keras.errors import UserError
from smtn_keras.predictor import load_predictor, shipped

QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
MEAN = np.array([[0.39, 0.51], [0.6, 0.51], [0.49, 0.62], [0.4, 0.7], [0.59, 0.7]]) * [178, 218]


@pytest.fixture(scope="module")
def files():
    folder = shipped()
    try:
        return web.page_files(folder)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def chromium():
    """Starts browsers with the switches given."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium; install Debian's package chromium")
    with sync_api.sync_playwright() as playwright:
        yield lambda *switches: playwright.chromium.launch(executable_path=program, args=[*QUIET, *switches])


@pytest.fixture(scope="module")
def browser(chromium):
    browser = chromium()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, files):
    page = browser.new_page()
    with web.serving(files) as url:
        page.goto(url)
        page.wait_for_selector("body[data-state=ready]")
        yield page
    page.close()


@pytest.fixture(scope="module")
def astronaut():
    """A public-domain photo with one face, whose eyes are known to lie at about (204, 100) and (245, 102)."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture
def photo(astronaut, tmp_path):
    return save(tmp_path / "astronaut.png", astronaut)


def save(file, picture):
    cv2.imwrite(str(file), picture[..., ::-1])
    return file


def give(page, file):
    """Chooses a file; returns what the page then says of its faces."""
    page.set_input_files("#file", file)
    page.wait_for_selector("body[data-state=ready]")
    return [json.loads(line) for line in page.text_content("#json").splitlines()]


def points(face):
    return np.array([face["landmarks"][name] for name in FIVE_POINTS.points])


def eyes_apart(landmarks):
    return np.linalg.norm(landmarks[1] - landmarks[0])


def pixels(page, image):
    """What an expression of the page's calls ImageData, as RGB."""
    width, height, data = page.evaluate(f"(async () => {{ const image = {image}; return [image.width, image.height, [...image.data]] }})()")
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def test_a_photo_goes_in_and_the_points_of_python_come_out(page, files, photo, astronaut, tmp_path):
    [face] = give(page, photo)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert " ms a face" in page.inner_text("#status")
    np.testing.assert_allclose(points(face)[:2], [[204, 100], [245, 102]], atol=4)

    # Python's answer to the crop that the page made
    predictor = load_predictor(files["/model/model.tflite"].parent)
    crop = pixels(page, "(await import('/page.js')).shown.faces[0].crop")
    answer = predictor([crop])
    back = "async () => { const {a, b, c, d, e, f} = (await import('/page.js')).shown.faces[0].back; return [[a, b], [c, d], [e, f]] }"
    *turn, shift = page.evaluate(back)
    expected = answer["landmarks"][0] * crop.shape[1::-1] @ np.array(turn) + shift
    assert np.linalg.norm(points(face) - expected, axis=1).max() < 0.02 * eyes_apart(expected)
    np.testing.assert_allclose(list(face["attributes"].values()), answer["attributes"][0], atol=0.01)

    # and to the whole photo, where another detector cuts
    pytest.importorskip("mtcnn")
    [expected] = faces.find(astronaut, predictor, faces.mtcnn())
    assert np.linalg.norm(points(face) - points(expected), axis=1).max() < 0.06 * eyes_apart(points(expected))


def test_a_dropped_photo_and_one_turned_by_its_camera(page, astronaut, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen upright it is turned to the right
    file = tmp_path / "turned.png"
    Image.fromarray(np.rot90(astronaut).copy()).save(file, exif=exif)
    page.evaluate(
        """([base64, name]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name));
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
        }""",
        [base64.b64encode(file.read_bytes()).decode(), file.name],
    )
    page.wait_for_selector("body[data-state=ready]")
    x, y, w, h = json.loads(page.text_content("#json"))["box"]
    assert x < 204 < 245 < x + w
    assert y < 101 < y + h


def test_small_faces_of_a_large_photo(page, astronaut, tmp_path):
    places = [(0, 0), (1800, 100), (900, 900), (2100, 1300)]
    group = np.full((1600, 2400, 3), 190, np.uint8)
    for x, y in places:
        group[y : y + 300, x : x + 300] = astronaut[:300, 80:380]
    found = give(page, save(tmp_path / "group.png", group))
    noses = sorted([x - 146, y - 128] for x, y in (face["landmarks"]["nose"] for face in found))
    np.testing.assert_allclose(noses, sorted(places), atol=15)
    assert page.locator("article").count() == 4


def png(width, height):
    """A black one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("notes.txt", lambda photo: b"no picture", "expected a picture (JPEG, PNG, WebP or GIF), got a file that this browser cannot read"),
        ("empty.png", lambda photo: b"", "expected a picture (JPEG, PNG, WebP or GIF), got a file that this browser cannot read"),
        ("cut.png", lambda photo: photo[: len(photo) // 2], "expected a whole picture, got a cut-off or damaged one"),
        ("huge.png", lambda photo: png(20_000, 10_000), "expected a picture of at most 100 megapixels, got one of 200; scale it down"),
        ("black.png", lambda photo: png(300, 200), "expected a face, found none; choose a picture with a larger, upright face"),
    ],
)
def test_a_bad_file_gets_a_sentence_and_the_next_photo_its_points(page, photo, tmp_path, name, make, expected):
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    give(page, photo)
    (tmp_path / name).write_bytes(make(photo.read_bytes()))
    assert give(page, tmp_path / name) == []
    assert page.inner_text("#error").startswith(f"{name}: {expected}")
    assert page.is_visible("#picture") == (name == "black.png"), "the photo before would be taken for this one"
    assert len(give(page, photo)) == 1
    assert page.is_hidden("#error")
    assert not errors


def test_nothing_leaves_the_page(chromium, files, photo, astronaut, tmp_path):
    browser = chromium(*camera_of(astronaut, tmp_path))
    page = browser.new_page()
    asked, sockets, complaints = [], [], []
    page.context.on("request", lambda request: asked.append(request))
    page.on("websocket", lambda opened: sockets.append(opened))
    page.on("console", lambda message: complaints.append(message.text))
    with web.serving(files) as url:
        page.goto(url)
        give(page, photo)
        loaded = len(asked)
        page.click("#camera")
        page.wait_for_selector("#json:text('camera')", state="attached")
        page.click("#camera")
        page.wait_for_selector("body[data-state=ready]")
        elsewhere = [request.url for request in asked if not request.url.startswith((url, f"blob:{url}"))]
        sent = [request.url for request in asked if request.method != "GET" or request.post_data_buffer]
        assert (loaded > 10, elsewhere, sent, sockets) == (True, [], [], [])
        assert [request.url for request in asked[loaded:] if not request.url.startswith("blob:")] == [], "the camera needs no more files"
        assert not [text for text in complaints if "Content Security Policy" in text], "or the policy forbids what the page does"

        refused = """() => new Promise((resolve) => {
            addEventListener("securitypolicyviolation", ({blockedURI}) => resolve(blockedURI));
            fetch("https://example.org/", {method: "POST", body: "a face"}).catch(() => {});
            setTimeout(resolve, 5000, "nothing");
        })"""
        assert page.evaluate(refused) == "https://example.org/"
        assert page.evaluate("crossOriginIsolated"), "or there are no threads"
    browser.close()


def test_a_script_in_the_page_is_not_run(page):
    """As an attribute or a file's name might try."""
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.ran = 2'; document.body.append(script) }"
    )
    assert page.evaluate("new Promise((resolve) => setTimeout(() => resolve(window.ran ?? null), 300))") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser, files, photo, tmp_path, scheme):
    page = browser.new_page(viewport={"width": 320, "height": 640}, color_scheme=scheme, has_touch=True)
    with web.serving(files) as url:
        page.goto(url)
        page.wait_for_selector("body[data-state=ready]")
        give(page, photo)
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((value) => value < 128)")
    assert dark == (scheme == "dark")
    page.close()


def camera_of(astronaut, tmp_path):
    """Switches for a camera that sees the photo."""
    film = tmp_path / "film.mjpeg"
    picture = cv2.imencode(".jpg", astronaut[:480, :, ::-1])[1].tobytes()
    film.write_bytes(picture * 30)
    return "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"


def test_the_camera(chromium, files, astronaut, tmp_path):
    browser = chromium(*camera_of(astronaut, tmp_path))
    page = browser.new_page()
    with web.serving(files) as url:
        page.goto(url)
        page.click("#camera")
        page.wait_for_selector("#json:not(:empty)", state="attached")
        x, y, w, h = json.loads(page.text_content("#json"))["box"]
        width = page.evaluate("(async () => (await import('/page.js')).shown.picture.width)()")
        height = page.evaluate("(async () => (await import('/page.js')).shown.picture.height)()")
        page.screenshot(path=tmp_path / "camera.png")
        page.click("#camera")
        page.wait_for_selector("body[data-state=ready]")
        assert page.inner_text("#camera") == "Use the camera"
    browser.close()
    # as in a mirror
    assert x / width < 1 - 245 / 512 < 1 - 204 / 512 < (x + w) / width
    assert y / height < 101 / 480 < (y + h) / height


def test_no_camera(page):
    page.click("#camera")
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error") == "expected a camera, found none; connect one, or choose a photo."


@pytest.mark.parametrize(
    ("broken", "content", "expected"),
    [
        ("model.tflite", b"no model, but long enough to be read as one" * 9, "expected a LiteRT model at /model/model.tflite, got one"),
        ("model.tflite", "detector", "expected a model of pictures with the outputs of its model.json, got regressors, classificators"),
        ("model.json", b"no card", "expected a model.json written by smtn_keras.export"),
        ("model.json", b"{}", "expected a model.json written by smtn_keras.export"),
    ],
)
def test_a_model_that_is_none_gets_a_sentence(browser, files, photo, tmp_path, broken, content, expected):
    if content == "detector":
        content = next(file for url, file in files.items() if url.endswith("short_range.tflite")).read_bytes()
    (tmp_path / broken).write_bytes(content)
    page = browser.new_page()
    with web.serving({**files, f"/model/{broken}": tmp_path / broken}) as url:
        page.goto(url)
        page.wait_for_selector("body[data-state=failed]")
        assert page.inner_text("#error").startswith(f"The network cannot be used: {expected}")
        page.set_input_files("#file", photo)
        page.wait_for_selector("body[data-state=ready]")
        assert page.inner_text("#error").startswith(expected)
    page.close()


@pytest.mark.slow
def test_a_gpu_sees_the_same(chromium, files, photo):
    # drawn by the processor, and so used only if one insists
    browser = chromium("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    found = {}
    with web.serving(files) as url:
        for query, runtime in (("", "WebAssembly"), ("?accelerator=webgpu", "WebGPU")):
            page = browser.new_page()
            page.set_default_timeout(300_000)
            page.goto(url + query)
            [found[query]] = give(page, photo)
            assert f"on {runtime}." in page.inner_text("#about")
    browser.close()
    one, other = map(points, found.values())
    # of a quantised network the GPU computes more precisely
    assert np.linalg.norm(one - other, axis=1).max() < 0.06 * eyes_apart(one)


@pytest.mark.parametrize("zoom", [0.4, 1.0, 3.3])
def test_faces_are_cut_as_in_python(page, astronaut, tmp_path, zoom):
    # the mean face, turned by 20 degrees, enlarged and moved, partly beyond the edge
    angle = np.deg2rad(20)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    there = MEAN @ turn.T + [150, 40]

    predictor = SimpleNamespace(
        card={"frame": {"size": [178, 218], "mean_landmarks": {"landmarks": (MEAN / [178, 218]).tolist()}}}, tasks=(FIVE_POINTS,)
    )
    expected = faces.cut(astronaut, dict(zip(FIVE_POINTS.points, there, strict=True)), predictor).crop
    page.set_input_files("#file", save(tmp_path / "astronaut.png", astronaut))
    page.wait_for_selector("body[data-state=ready]")
    cut = f"cut((await import('/page.js')).shown.picture.getContext('2d'), similarity({there.tolist()}, {MEAN.tolist()}), [178, 218])"
    crop = pixels(page, f"await import('/frame.js').then(async ({{cut, similarity}}) => {cut})")
    difference = np.abs(crop.astype(int) - expected)
    assert difference.mean() < 0.5
    assert difference.max() <= 8  # OpenCV takes places to 1/32 of a pixel


@pytest.mark.parametrize("side", [64, 96, 200, 256])
def test_crops_are_resized_as_in_python(page, astronaut, side):
    crop = astronaut[:218, 120:298]
    rgba = np.dstack([crop, np.full(crop.shape[:2], 255, np.uint8)])
    image = f"resize(new ImageData(new Uint8ClampedArray({rgba.ravel().tolist()}), 178, 218), [{side}, {side}])"
    resized = pixels(page, f"await import('/frame.js').then(({{resize}}) => {image})")
    assert np.abs(resized.astype(int) - resize(crop, side)).max() <= 1


def test_the_similarity_is_the_least_squares_one(page):
    fit = "async ([from, to]) => { const {a, b, e, f} = (await import('/frame.js')).similarity(from, to); return [a, b, e, f] }"
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    # turned by a quarter, doubled and moved
    there = [[10, 20], [10, 22], [8, 22], [8, 20]]
    np.testing.assert_allclose(page.evaluate(fit, [square, there]), [0, 2, 10, 20], atol=1e-12)
    # one corner, (-1, -1) / 2 from the middle, is off by (4, 0): the middle moves by (1, 0), and (-1 + i) / 2 * 4 / 2 turns and scales
    there[0] = [14, 20]
    np.testing.assert_allclose(page.evaluate(fit, [square, there]), [-1, 3, 12, 20], atol=1e-12)


@pytest.fixture
def ask(tmp_path):
    """Asks a server of one file, which lies beside another; returns status, body and headers."""
    (tmp_path / "page.js").write_text("known")
    (tmp_path / "secret.txt").write_text("unknown")
    with web.serving({"/": tmp_path / "page.js", "/a/b.wasm": tmp_path / "page.js"}) as url:
        assert url.startswith("http://127.0.0.1:")

        def ask(path="/", method="GET", body=None, **headers):
            server = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=60)
            server.request(method, path, body, headers)
            answer = server.getresponse()
            return answer.status, answer.read(), answer.headers

        ask.address = (web.HOST, int(url.rstrip("/").rpartition(":")[2]))
        yield ask


def test_it_gives_the_files_of_the_page_and_no_others(ask):
    status, body, headers = ask("/?accelerator=wasm")
    assert (status, body, headers["Content-Type"]) == (200, b"known", "text/javascript; charset=utf-8")
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Server"] == "smtn_keras"
    assert ask("/", "HEAD")[:2] == (200, b"")
    climbing = (
        "/../secret.txt",
        "/a/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/a/..%5c..%5csecret.txt",
        "/%00/secret.txt",
    )
    for path in ("/secret.txt", "//etc/passwd", "/a", "/a/", "/a/b.wasm/", "http://127.0.0.1/", "*", *climbing):
        status, body, headers = ask(path)
        assert (status, b"known" in body) == (404, False), path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self' ")


def test_it_takes_nothing(ask):
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        status, _, headers = ask(method=method)
        assert (status, headers["Connection"]) == (501, "close"), method
    assert ask(body=b"a face")[0] == 413
    assert ask(body=iter([b"a face"]))[0] == 413, "in chunks"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("LocalHost", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("192.168.1.7", 200)]
    + [(host, 421) for host in ("faces.example:8000", "localhost.faces.example", "127.0.0.1.faces.example", "", "[", "[::1")],
)
def test_a_name_that_was_pointed_here_is_refused(ask, host, status):
    assert ask(Host=host)[0] == status


def test_a_request_without_end_is_cut_off(ask, monkeypatch):
    for sent, status in ((b"GET /" + b"a" * 70_000, b"414"), (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431")):
        with socket.create_connection(ask.address, timeout=60) as client:
            client.sendall(sent)
            assert client.recv(100).split()[1] == status
    assert web._Handler.timeout
    monkeypatch.setattr(web._Handler, "timeout", 0.1)
    with socket.create_connection(ask.address, timeout=60) as client:
        client.sendall(b"GET / HT")
        assert client.recv(100) == b"", "a client that says no more keeps its thread"


def test_the_policy_knows_the_import_map():
    [script] = re.findall(r'<script type="importmap">(.*?)</script>', (web.page_folder() / "index.html").read_text(), re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in web.POLICY["script-src"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:"} & set(" ".join(web.POLICY.values()).split())


@pytest.mark.parametrize("name", ["model/model.json", "page/style.css", "page/node_modules/known/a.js"])
def test_a_link_to_elsewhere_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "private").write_text("none of the page's business")
    for file in ("model/model.tflite", "model/model.json", "page/style.css", "page/node_modules/known/a.js"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("known")
    (tmp_path / "page/package.json").write_text('{"served": {"known": ["*.js"]}}')
    monkeypatch.setattr(web, "page_folder", lambda: tmp_path / "page")
    assert tmp_path / name in web.page_files(tmp_path / "model").values()
    (tmp_path / name).unlink()
    os.symlink(tmp_path / "private", tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: expected a file in the page's or the model's folder, got a link to .*private"):
        web.page_files(tmp_path / "model")


@pytest.mark.parametrize(("bind", "warned"), [((), False), (("--bind", "0.0.0.0"), True), (("--bind", "::1"), False)])
def test_others_reach_it_only_when_asked_and_it_says_so(tmp_path, monkeypatch, capsys, bind, warned):
    if "::1" in bind and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(web, "page_files", lambda model: {})
    monkeypatch.setattr(web, "threading", SimpleNamespace(Thread=threading.Thread, Event=interrupted))
    web.main(["--port", "0", *bind])
    said = capsys.readouterr()
    assert said.out.startswith(f"http://{ {(): '127.0.0.1', ('--bind', '0.0.0.0'): '0.0.0.0'}.get(bind, '[::1]') }:")
    assert said.err.startswith("warning: other machines can read the page and its model") == warned


@pytest.mark.parametrize("missing", ["model.tflite", "model.json"])
def test_a_folder_that_is_no_export(tmp_path, capsys, missing):
    for name in {"model.tflite", "model.json"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(SystemExit) as end:
        web.main(["--model", str(tmp_path)])
    assert end.value.code == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}: expected an exported folder, found no {missing} in it; name one made by smtn_keras.export\n"
    )


def test_without_the_npm_packages_it_says_what_to_run(tmp_path, monkeypatch):
    for name in ("model.tflite", "model.json"):
        (tmp_path / name).write_text("{}")
    shutil.copy(web.page_folder() / "package.json", tmp_path)
    monkeypatch.setattr(web, "page_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=f"run: npm ci --omit=dev --prefix '{tmp_path}'"):
        web.page_files(tmp_path)


def test_a_port_in_use_or_none():
    with socket.create_server((web.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"expected a free port, but {port} cannot be used"), web.serving({}, port):
            pass
    with pytest.raises(UserError, match="name another --port"), web.serving({}, 99999):
        pass
    with (
        pytest.raises(UserError, match=r"cannot be used on 203\.0\.113\.1 .*name another --port or --bind"),
        web.serving({}, 0, "203.0.113.1"),
    ):
        pass
