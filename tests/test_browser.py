"The site in Chromium: it opens, finds, reacts, fits a phone, and talks to nobody"
import functools, http.server, re, threading
from contextlib import contextmanager
from urllib.parse import urljoin
import pytest


@pytest.fixture(scope='module')
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


@pytest.fixture
def visit(chromium, address):
    "`with visit('core.html') as page`: no request may leave localhost, no error reach the console"
    @contextmanager
    def _visit(name, width=1300, scheme='light'):
        with chromium() as browser:
            view = dict(width=width, height=850)
            page = browser.new_context(viewport=view, color_scheme=scheme).new_page()
            outside,errors = [],[]
            def note_request(r):
                if not r.url.startswith((address, 'data:', 'blob:')): outside.append(r.url)
            def note_response(r):
                if r.status >= 400: errors.append(f'{r.status} {r.url}')
            page.on('request', note_request)
            page.on('console', lambda m: errors.append(m.text) if m.type == 'error' else None)
            page.on('pageerror', lambda e: errors.append(str(e)))
            page.on('response', note_response)
            page.goto(address+name)
            yield page
            assert not outside and not errors
    return _visit


def test_front_page_opens(visit):
    with visit('index.html') as page:
        assert page.locator('h1').inner_text() == 'fer_nbdev'
        assert page.locator('main img').first.evaluate('i => i.complete && i.naturalWidth') > 50
        page.click('.turn .next')
        page.wait_for_selector('h1:text("Core")')


def test_search_finds_grad_cam(visit):
    with visit('index.html') as page:
        page.keyboard.press('/')
        page.keyboard.type('Grad-CAM')
        hit = page.locator('#ui-results a[href*="gradcam.html"]').first
        hit.wait_for(timeout=10_000)
        hit.click()
        page.wait_for_url('**/gradcam.html*')


def test_plotly_reacts(visit):
    "The mouse over a point: its label appears"
    with visit('eda.html') as page:
        figure = page.locator('.plotly-figure').first
        figure.scroll_into_view_if_needed()
        figure.locator('.main-svg').first.wait_for()
        box = figure.locator('.nsewdrag').first.bounding_box()
        assert not page.locator('.hoverlayer .hovertext').count()
        for i in range(1, 20):
            for j in range(1, 20): # wherever the points are, one of these is near
                page.mouse.move(box['x']+box['width']*j/20, box['y']+box['height']*i/20)
                if page.locator('.hoverlayer .hovertext').count(): return
            page.wait_for_timeout(60)
            if page.locator('.hoverlayer .hovertext').count(): return
        raise AssertionError('no label appeared anywhere over the figure')


def test_no_page_scrolls_sideways_on_a_phone(visit, site):
    with visit('index.html', width=390) as page:
        for f in sorted(site.rglob('*.html')):
            page.goto(urljoin(page.url, '/' + f.relative_to(site).as_posix()))
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.evaluate('scrollTo(9999, 0)')
            size = page.evaluate('[document.documentElement.scrollWidth, scrollX]')
            assert size == [390, 0], f.name


def test_contents_slide_in_on_a_phone(visit):
    with visit('core.html', width=390) as page:
        link = page.locator('.side a', has_text='Data').first
        assert not link.is_visible()
        page.click('#ui-menu')
        link.wait_for(state='visible')
        page.wait_for_timeout(250)
        assert page.locator('.side').bounding_box()['x'] >= 0
        link.click()
        page.wait_for_url('**/data.html')


def background(page): return page.evaluate('getComputedStyle(document.body).backgroundColor')


def brightness(color): return sum(map(int, re.findall(r'\d+', color)[:3]))


def test_dark_is_the_system_s_until_chosen_and_then_remembered(visit):
    with visit('core.html', scheme='dark') as page:
        dark = background(page)
        page.click('#ui-theme')
        light = background(page)
        assert brightness(dark) < 150 < 600 < brightness(light)
        page.reload()
        assert background(page) == light


def test_heading_links_and_contents_of_the_page(visit):
    with visit('core.html') as page:
        page.click('.toc a >> nth=1')
        page.wait_for_timeout(150)
        anchor = page.evaluate('decodeURIComponent(location.hash.slice(1))')
        top = page.locator(f'[id="{anchor}"]').bounding_box()['y']
        assert 50 < top < 200 # below the bar
        assert page.locator('.toc a.here').count() == 1
