"use strict";
// The page shows the server's source (the picture by stream.mjpg, the figures by ws/poses), or the visitor's own webcam (its
// frames go to ws/estimate, and the people that come back are drawn here). One runs at a time, and none while it is hidden.
// All addresses are relative, because a proxy may show the page under a path of its own.

const part = (id) => document.getElementById(id);
const RETRY_MS = 1500;      // Between tries to reach the server.
const STALE_MS = 3000;      // Without a frame for so long, the page says that the picture is old.
const FRAME_SIDE_PX = 640;  // Longer side of a webcam frame as it is sent: more than the network needs.
const FRAME_QUALITY = 0.8;
const FRAME_MS = 33;        // The least time between frames: cameras give thirty a second.

let info = null;   // The answer of /info.
let mode = null;   // The view that runs: an object with stop(), or null.
let wanted = null; // "watch" or "webcam".

function say(state, text, message = "") {
  part("state").dataset.state = state;
  part("state").textContent = text;
  part("message").textContent = message;
}

function figures(fps, people, third, size) {
  part("fps").textContent = fps === null ? "–" : fps.toFixed(1);
  part("people").textContent = people ?? "–";
  part("third").textContent = third ?? "–";
  part("size").textContent = size ? `${size.width} × ${size.height}` : "–";
}

function socket(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const opened = new WebSocket(address);
  opened.binaryType = "arraybuffer";
  return opened;
}

async function ask() {
  const answer = await fetch("info", { credentials: "same-origin" });
  if (answer.status === 401) {
    location.reload(); // The page that asks for the token.
  }
  if (!answer.ok) {
    throw new Error(`the server answers ${answer.status}`);
  }
  info = await answer.json();
  for (const each of ["watch", "snapshot", "poses"]) {
    part(each).hidden = info.source === null;
  }
  part("source").textContent = `${info.source ? `${info.source.name}, ` : ""}${info.model}, edgepose ${info.version}`;
}

// ---- The server's source.

function watch() {
  let connection = null;
  let retry = null;
  let stopped = false;
  let came = 0;      // When the newest frame came, by the clock of this page.
  let patience = STALE_MS;
  let problem = "";
  part("third-name").textContent = "dropped frames";
  figures(null, null, null, null);

  async function connect() {
    try {
      await ask();
    } catch {
      say("waiting", "no connection", "The server does not answer. Trying again.");
      again();
      return;
    }
    if (stopped) {
      return;
    }
    let isOpen = false;
    connection = socket("ws/poses");
    connection.onopen = () => {
      isOpen = true;
      problem = "";
      showPicture();
      say("waiting", "waiting", info.source?.reason || "Waiting for the first frame.");
    };
    connection.onmessage = (event) => show(JSON.parse(event.data));
    connection.onclose = (event) => {
      connection = null;
      if (stopped) {
        return;
      }
      if (!isOpen) {
        withoutSocket();
        return;
      }
      part("fps").textContent = "–";
      if (event.code === 1000 && event.reason === "ended") {
        say("ended", "ended", "The video has ended. This is its last picture.");
      } else if (event.code === 1000 && event.reason === "failed") {
        say("failed", "failed", info.source?.reason || "The source cannot be read any more.");
      } else {
        say("waiting", "no connection", "The server does not answer. Trying again.");
      }
      again();
    };
  }

  function showPicture() {
    part("picture").src = `stream.mjpg?${Date.now()}`; // A new address, or browsers keep the old picture.
    part("picture").hidden = false;
  }

  function show(result) {
    came = Date.now() - 1000 * result.age;
    patience = Math.max(STALE_MS, 3000 / (result.fps || 1));
    figures(result.fps, result.poses.length, result.dropped, result.image);
    judge();
  }

  // Whether the newest frame is new: the first that comes may be the last of a camera that has gone.
  function judge() {
    if (Date.now() - came < patience) {
      say("live", "live", problem);
      return;
    }
    part("fps").textContent = "–";
    say("waiting", "waiting", `Gone since ${new Date(came).toLocaleTimeString()}. The picture is old; the source is looked for.`);
  }

  // The page is there, but its WebSocket is refused. The figures come by polling then.
  async function withoutSocket() {
    problem = "The WebSocket of this page (ws/poses) does not come through; figures come every other second. A proxy on the way "
      + "has to pass on the headers Upgrade, Connection and Host: see docs/serve.md.";
    try {
      const answer = await fetch("poses", { credentials: "same-origin" });
      const result = await answer.json();
      if (part("picture").hidden) {
        showPicture();
      }
      if (answer.ok) {
        show(result);
      } else {
        say("waiting", "waiting", `${result.error}. ${problem}`);
      }
    } catch {
      say("waiting", "no connection", "The server does not answer. Trying again.");
    }
    again();
  }

  // Also after the end: the server may be started again with something else.
  function again() {
    clearTimeout(retry);
    retry = stopped ? null : setTimeout(async () => {
      if (part("state").dataset.state !== "ended" && part("state").dataset.state !== "failed") {
        connect();
        return;
      }
      try {
        await ask();
        if (info.source && (info.source.state === "running" || info.source.state === "waiting")) {
          connect();
          return;
        }
      } catch { // The server is gone, and may come back with another source.
        part("state").dataset.state = "waiting";
      }
      again();
    }, RETRY_MS);
  }

  const stale = setInterval(() => came && connection?.readyState === WebSocket.OPEN && judge(), 1000);

  connect();
  return {
    stop() {
      stopped = true;
      clearTimeout(retry);
      clearInterval(stale);
      connection?.close();
      part("picture").hidden = true;
      part("picture").removeAttribute("src");
    },
  };
}

// ---- The visitor's webcam.

function webcam() {
  const video = document.createElement("video");
  const frame = document.createElement("canvas"); // Is sent, and drawn on when the answer has come.
  let camera = null;
  let connection = null;
  let retry = null;
  let stopped = false;
  let times = [];
  let taken = 0;
  video.muted = true;
  video.playsInline = true;
  part("third-name").textContent = "answer, ms";
  figures(null, null, null, null);

  async function start() {
    if (!navigator.mediaDevices) {
      say("failed", "no webcam", "Browsers give a webcam only to pages from this computer or over HTTPS. From another computer: "
        + `ssh -L ${location.port || 80}:localhost:${location.port || 80} ${location.hostname}, then open http://localhost:${location.port || 80}`);
      return;
    }
    say("waiting", "webcam", "Allow this page to use your webcam. Its frames go to this server only, and are not kept.");
    try {
      camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
    } catch (error) {
      say("failed", "no webcam", `The webcam cannot be used: ${error.message || error.name}.`);
      return;
    }
    if (stopped) {
      camera.getTracks().forEach((track) => track.stop());
      return;
    }
    video.srcObject = camera;
    await video.play();
    connect();
  }

  async function connect() {
    try {
      await ask();
    } catch {
      say("waiting", "no connection", "The server does not answer. Trying again.");
      retry = setTimeout(connect, RETRY_MS);
      return;
    }
    if (stopped) {
      return;
    }
    connection = socket("ws/estimate");
    connection.onopen = send;
    connection.onmessage = (event) => {
      show(JSON.parse(event.data));
      retry = setTimeout(send, FRAME_MS - (performance.now() - taken));
    };
    connection.onclose = (event) => {
      if (stopped) {
        return;
      }
      say("waiting", "no connection", event.reason || "The server does not answer, or has no room. Trying again.");
      retry = setTimeout(connect, RETRY_MS);
    };
  }

  // One frame is sent at a time; the next one is taken when the answer has come, so none is old.
  function send() {
    taken = performance.now();
    const scale = Math.min(1, FRAME_SIDE_PX / Math.max(video.videoWidth, video.videoHeight));
    frame.width = Math.round(video.videoWidth * scale);
    frame.height = Math.round(video.videoHeight * scale);
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    frame.toBlob((blob) => {
      if (blob && connection?.readyState === WebSocket.OPEN) {
        connection.send(blob);
      }
    }, "image/jpeg", FRAME_QUALITY);
  }

  function show(result) {
    const canvas = part("canvas");
    canvas.width = frame.width;
    canvas.height = frame.height;
    const pen = canvas.getContext("2d");
    pen.drawImage(frame, 0, 0);
    drawPeople(pen, result.poses, Math.max(2, Math.min(canvas.width, canvas.height) / 120));
    canvas.hidden = false;
    const now = performance.now();
    times = [...times.filter((time) => now - time < 2000), now];
    const fps = times.length > 1 ? ((times.length - 1) * 1000) / (now - times[0]) : null;
    say("live", "live");
    figures(fps, result.poses.length, Math.round(result.milliseconds), result.image);
  }

  start();
  return {
    stop() {
      stopped = true;
      clearTimeout(retry);
      connection?.close();
      camera?.getTracks().forEach((track) => track.stop());
      part("canvas").hidden = true;
    },
  };
}

// ---- Skeletons: warm at the person's right, cool at the left, as edgepose draws them.

const COLOURS = {
  r: { face: "#f0e442", arm: "#e69f00", leg: "#eb5428" },
  l: { face: "#56b4e9", arm: "#1482d7", leg: "#00b982" },
};
const PARTS = { shoulder: "arm", elbow: "arm", wrist: "arm", hip: "leg", knee: "leg", ankle: "leg" };

function colour(names) {
  const sides = new Set(names.filter((name) => name[1] === "_").map((name) => name[0]));
  if (sides.size !== 1) {
    return "#f0f0f0";
  }
  const parts = names.map((name) => PARTS[name.split("_").pop()] ?? "face");
  return COLOURS[[...sides][0]][["leg", "arm", "face"].find((each) => parts.includes(each))];
}

function drawPeople(pen, people, width) {
  const { keypoints: names, limbs } = info.skeleton;
  pen.lineCap = "round";
  for (const outline of [true, false]) {
    for (const { keypoints } of people) {
      for (const [a, b] of [...limbs, ...names.map((_, index) => [index, index])]) {
        if (keypoints[a] && keypoints[b]) {
          pen.strokeStyle = outline ? "#181818" : colour([names[a], names[b]]);
          pen.lineWidth = (a === b ? 1.8 : 1) * width + (outline ? 2 : 0);
          pen.beginPath();
          pen.moveTo(keypoints[a][0], keypoints[a][1]);
          pen.lineTo(keypoints[b][0] + (a === b ? 0.01 : 0), keypoints[b][1]);
          pen.stroke();
        }
      }
    }
  }
  pen.font = `600 ${Math.round(5 * width)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  for (const { id, box } of people) {
    if (id !== null && box) {
      const [x, y] = [(box[0] + box[2]) / 2, Math.max(5 * width, box[1] - 3 * width)];
      pen.lineWidth = 3;
      pen.strokeStyle = "#181818";
      pen.strokeText(id, x, y);
      pen.fillStyle = "#f0f0f0";
      pen.fillText(id, x, y);
    }
  }
}

// ---- The choice between the two.

function choose(name) {
  wanted = name;
  mode?.stop();
  say("waiting", "connecting");
  for (const each of ["watch", "webcam"]) {
    part(each).setAttribute("aria-pressed", String(each === name));
  }
  mode = document.hidden ? null : { watch, webcam }[name]();
}

async function begin() {
  try {
    await ask();
  } catch {
    say("waiting", "no connection", "The server does not answer. Trying again.");
    setTimeout(begin, RETRY_MS);
    return;
  }
  if (info.source) {
    choose("watch");
  } else {
    part("webcam").setAttribute("aria-pressed", "false");
    say("ended", "ready", "This server has no camera of its own. Press “My webcam” to try yours.");
  }
}

part("watch").onclick = () => choose("watch");
part("webcam").onclick = () => choose("webcam");
document.addEventListener("visibilitychange", () => wanted && choose(wanted));
begin();
