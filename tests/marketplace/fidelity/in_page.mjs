// What runs in the page: one function, since that is what crosses over into a browser.

export async function inPage(part) {
  const hash = async (buffer) => {
    const bytes = [...new Uint8Array(await crypto.subtle.digest('SHA-256', buffer))];
    return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
  };
  const body = async (buffer) => {
    const text = new TextDecoder().decode(buffer);
    if (text.includes('"request_headers"')) return JSON.parse(text);
    return buffer.byteLength < 200 ? text : { bytes: buffer.byteLength, sha256: await hash(buffer) };
  };
  const ask = async (path, options) => {
    try {
      const response = await fetch(path, options);
      const { status, statusText, type, redirected, url } = response;
      const told = { status, statusText, type, redirected, url, headers: [...response.headers] };
      try {
        return { ...told, body: await body(await response.arrayBuffer()) };
      } catch (error) {
        return { ...told, error: error.message };
      }
    } catch (error) {
      return { error: `${error.name}: ${error.message}` };
    }
  };
  const all = async (cases) => {
    const told = {};
    for (const [name, [path, options]] of Object.entries(cases)) told[name] = await ask(path, options);
    return told;
  };
  const once = (target, event) => new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
  const pattern = (length) => new Uint8Array(length).map((_, at) => at % 251);

  const parts = {
    fetches: () =>
      all({
        get: ['/echo?a=1&a=2&b=%20é{}|^`'],
        head: ['/file', { method: 'HEAD' }],
        path: ['/echo/a{b}|c^[d]é;e=f'],
        own: ['/echo', { method: 'PURGE', headers: { 'X-Own': 'ÿ', Accept: 'application/json' } }],
        cookies: ['/headers'],
        'with cookies': ['/echo', { credentials: 'include' }],
        'without them': ['/echo', { credentials: 'omit' }],
        'not there': ['/nowhere'],
        failed: ['/status/500'],
        'own status': ['/status/200?line=299+Quite+All+right'],
        'no content': ['/status/204'],
        'a download': ['/download/20'],
        kept: ['/echo', { method: 'POST', body: 'x', keepalive: true }],
      }),

    bodies: () => {
      const form = new FormData();
      form.append('field', 'é');
      form.append('file', new File([pattern(300_000)], 'é.bin', { type: 'application/x-own' }));
      const post = (sent, headers = {}) => ['/echo', { method: 'POST', body: sent, headers }];
      return all({
        text: post('text é'),
        json: post('{"a":1}', { 'Content-Type': 'application/json' }),
        bytes: post(pattern(5_000_000)),
        blob: post(new Blob([pattern(70_000)], { type: 'application/x-blob' })),
        search: post(new URLSearchParams({ a: '1 2', b: 'é' })),
        form: post(form),
        put: ['/echo', { method: 'PUT', body: 'put' }],
        patch: ['/echo', { method: 'PATCH', body: 'patch' }],
        delete: ['/echo', { method: 'DELETE', body: 'delete' }],
        nothing: ['/upload', { method: 'POST' }],
      });
    },

    ranges: () => {
      const range = (text, more = {}) => ['/file', { headers: { Range: text, ...more } }];
      return all({
        first: range('bytes=0-99'),
        middle: range('bytes=500000-500099'),
        last: range('bytes=-7'),
        beyond: range('bytes=9999999-'),
        same: range('bytes=0-9', { 'If-Range': '"file-1"' }),
        another: range('bytes=0-9', { 'If-Range': '"file-0"' }),
        whole: ['/file'],
        'asked again': ['/file', { cache: 'no-cache' }],
        known: ['/file', { headers: { 'If-None-Match': '"file-1"' }, cache: 'no-store' }],
      });
    },

    codings: () =>
      all({ gzip: ['/compressed/gzip'], deflate: ['/compressed/deflate'], nonsense: ['/compressed/br'] }),

    redirects: () =>
      all({
        followed: ['/status/302?to=/status/301'],
        'with its body': ['/status/307', { method: 'POST', body: 'kept' }],
        'to a get': ['/status/303', { method: 'POST', body: 'dropped' }],
        manual: ['/status/302', { redirect: 'manual' }],
        refused: ['/status/302', { redirect: 'error' }],
      }),

    // Each comes before the next is asked for; a source whose stream ends comes back with the last id.
    events: async () => {
      const name = crypto.randomUUID();
      const source = new EventSource(`/events/${name}`);
      const told = [];
      const waiting = [];
      for (const kind of ['message', 'counted', 'error']) {
        source.addEventListener(kind, (event) => {
          told.push([kind, event.data, event.lastEventId]);
          waiting.shift()?.();
        });
      }
      const next = () => new Promise((resolve) => waiting.push(resolve));
      await next();
      for (let n = 0; n < 3; n += 1) {
        const arrived = n < 2 ? [next()] : [next(), next(), next()];
        await fetch(`/go/${name}`, { method: 'POST' });
        await Promise.all(arrived);
      }
      source.close();
      return told;
    },

    leaving: async () => {
      const name = crypto.randomUUID();
      const controller = new AbortController();
      const response = await fetch(`/endless/${name}`, { signal: controller.signal });
      const reader = response.body.getReader();
      await reader.read();
      controller.abort();
      const failed = await reader.read().catch((error) => error.name);
      return { failed, told: await (await fetch(`/left/${name}`)).json() };
    },

    many: async () => {
      const asked = Array.from({ length: 30 }, (_, n) => ask(`/echo/${n}`, { method: 'POST', body: `${n}` }));
      return (await Promise.all(asked)).map((told) => [told.status, told.body.path, told.body.body.sha256]);
    },

    xhr: async () => {
      const request = new XMLHttpRequest();
      request.open('POST', '/echo');
      request.responseType = 'text';
      let last;
      request.upload.onprogress = ({ loaded, total, lengthComputable }) => (last = { loaded, total, lengthComputable });
      const done = once(request, 'loadend');
      request.send(pattern(1_000_000));
      await done;
      const { status, statusText, responseURL } = request;
      const headers = request.getAllResponseHeaders().trim().split('\r\n').map((line) => line.split(/: (.*)/s, 2));
      return { status, statusText, responseURL, last, headers, body: JSON.parse(request.responseText) };
    },

    socket: async () => {
      const open = async () => {
        const ws = new WebSocket(`ws://${location.host}/socket`, ['one', 'two']);
        ws.binaryType = 'arraybuffer';
        const failed = once(ws, 'error').then(() => 'failed');
        await Promise.race([once(ws, 'open'), failed]);
        return ws;
      };
      const ws = await open();
      const told = { readyState: ws.readyState, protocol: ws.protocol, extensions: ws.extensions, messages: [] };
      for (const message of ['text é', '', 'x'.repeat(70_000), pattern(0), pattern(1_000_000)]) {
        const answered = once(ws, 'message');
        ws.send(message);
        const { data } = await answered;
        told.messages.push([typeof data, data.length ?? data.byteLength, typeof data === 'string' ? data === message : await hash(data)]);
      }
      const closed = once(ws, 'close');
      ws.send('close');
      const { code, reason, wasClean } = await closed;
      told.closed = { code, reason, wasClean };
      const second = await open();
      const ended = once(second, 'close');
      second.close(4002, 'by me');
      const bye = await ended;
      told.closedByMe = { code: bye.code, reason: bye.reason, wasClean: bye.wasClean };
      const refused = new WebSocket(`ws://${location.host}/file`);
      const end = await once(refused, 'close');
      told.refused = { code: end.code, wasClean: end.wasClean };
      return told;
    },
  };
  return parts[part]();
}
