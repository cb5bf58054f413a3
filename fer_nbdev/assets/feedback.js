// The camera proposes a smiley. Without this script the five buttons work just the same.
const by = id => document.getElementById(id);
const [video, said] = [by('video'), by('said')];

function stop() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

by('open').onclick = async () => {
  said.textContent = '';
  try {
    const size = {width: 640, height: 480};
    video.srcObject = await navigator.mediaDevices.getUserMedia({video: size});
    await video.play();
    video.hidden = by('propose').hidden = false;
    by('open').hidden = true;
    by('propose').focus();
  } catch (e) {
    said.textContent = `The camera did not open (${e.name}). Click a smiley above instead.`;
  }
};

by('propose').onclick = async () => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext('2d').drawImage(video, 0, 0);
  const picture = await new Promise(done => canvas.toBlob(done, 'image/jpeg', .9));
  said.textContent = 'Asking ...';
  by('confirmed').hidden = true;
  try {
    const answer = await fetch(`${location.pathname}/propose`, {method: 'POST', body: picture});
    const kind = answer.headers.get('content-type') ?? '';
    const got = kind.includes('json') ? await answer.json() : {error: 'too many requests, wait a minute'};
    if (got.error) {
      said.textContent = `No proposal: ${got.error}`;
      return;
    }
    said.textContent = `The camera proposes: ${got.emotion}. Your answer has not been sent yet.`;
    by('proposed').value = got.emotion;
    by('proposed').textContent = `Send "${got.emotion}"`;
    by('confirmed').hidden = false;
    by('proposed').focus();
  } catch (e) {
    said.textContent = `The server did not answer (${e.message}). Try again.`;
  }
};

addEventListener('pagehide', stop);
