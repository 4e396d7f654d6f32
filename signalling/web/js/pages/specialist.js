// SPDX-License-Identifier: Apache-2.0
// The specialist's page: who is in, which state we are in, and what follows from it.

import {inCall, pageState} from "../desk.js";
import {Devices} from "../devices.js";
import {$, el, onclick, say} from "../dom.js";
import {Endpoints} from "../endpoints.js";
import {_} from "../i18n.js";
import {Staff, dialog, fillList, showState, wireDialogs} from "./staff.js";
import {tick, wireInvite} from "./staff_cases.js";
import {CallView, deviceWords} from "./specialist_call.js";
import {StaffContents} from "./specialist_content.js";
import {DeskView} from "./specialist_desk.js";
import {Ring, askNotifications} from "./specialist_ring.js";

/** @import {Kind} from "../endpoint.js" */

const staff = new Staff({
  role: "specialist",
  onchange: () => render(),
  onmessage: (message) => callView.receive(message),
  ontrack: (kind, track) => callView.track(kind, track),
  endpoints: Endpoints,
});
const session = () => staff.session;
const contents = new StaffContents({session, microphone: () => callView.devices?.tracks.audio ?? null});
const callView = new CallView({session, contents, ondevices: () => {
  render();
  renderDevicesDialog();
}});
const ringView = new Ring({session, onaccept: () => void callView.open(), onsound: () => render()});
const deskView = new DeskView({session, ongoing: goingOnCall, contents});
/** What the microphone and camera were like when last tried outside a callView. @type {Record<Kind, string>} */
const tried = {audio: "", video: ""};
/** Devices opened for the check dialog only. @type {Devices | null} */
let checked = null;
let wasInCall = false;

function render() {
  const state = session()?.state;
  const view = session()?.consult ?? null;
  const now = session()?.now() ?? Date.now() / 1000;
  const inside = staff.access === "signed_in";
  const page = pageState({
    access: staff.access,
    desk: (inside && state?.desk) || null,
    consult: view,
    mediaLost: state?.endpoint === "interrupted",
  });
  const calling = page === "in_call" || page === "interrupted";
  showState(page);
  ringView.render(page === "ringing" ? state?.desk?.ring : undefined);
  if (page === "ringing") void callView.prepare(() => document.body.dataset["state"] === "ringing");
  say("ring-microphone", callView.prepared ? _("Your microphone is on. Nothing is sent before you accept.") : "");
  contents.render(calling && view ? view.consult : "");
  if (calling) {
    const live = session();
    if (live && view && inCall(state?.desk ?? {type: "desk", state: "in_call"}, view)) callView.render(live, view);
    closeCheck();
    dialog("invite").close();
  } else {
    if (wasInCall) deskView.refreshPast();
    // Opened by the tap on Accept; if the ring was over by then, no camera stays on.
    if (wasInCall || (callView.devices && page !== "ringing")) callView.close();
    document.body.dataset["endpoint"] = "";
    if (inside && state?.desk) deskView.render(state.desk, state.link === "open");
    renderNotices(page === "available" || page === "ringing");
  }
  wasInCall = calling;
  ringView.tick(now);
  tick(now);
}

/** In the tap that goes on call: sound, notifications, and the permission for camera and microphone, so that accepting
 *  a ring is one tap. The devices are let go at once: their lights burn in calls only. */
async function goingOnCall() {
  await ringView.alarm.unlock();
  void askNotifications();
  const devices = new Devices({storage: localStorage});
  await devices.open();
  tried.audio = devices.state.audio;
  tried.video = devices.state.video;
  devices.close();
}

/** @param {boolean} onCall */
function renderNotices(onCall) {
  /** @type {{key: string, make: () => HTMLElement}[]} */
  const notices = [];
  if (onCall && ringView.alarm.blocked) {
    notices.push({key: "sound", make: () => {
      const button = el("button", {type: "button", className: "main"}, _("Switch the sound on"));
      button.addEventListener("click", () => ringView.alarm.unlock());
      return el("div", {className: "notice ask"}, el("p", {}, _("This tab can’t ring aloud until you tap here once.")), button);
    }});
  }
  if (onCall && typeof Notification === "function" && Notification.permission === "denied") {
    notices.push({key: "notifications", make: () => el("p", {className: "notice"},
      _("Notifications are blocked: keep this tab in sight to notice a ring."))});
  }
  for (const kind of /** @type {Kind[]} */ (["audio", "video"])) {
    const words = onCall ? deviceWords(kind, tried[kind]) : "";
    if (words) notices.push({key: `${kind} ${tried[kind]}`, make: () => el("p", {className: "notice bad"}, words)});
  }
  fillList($("desk-notices"), notices, ({key}) => key, ({make}) => make());
}

// -- the devices dialog, before and in a call ------------------------------------------------------

/** The devices that the dialog is about. */
const inDialog = () => callView.devices ?? checked;

function openDevices() {
  if (!callView.devices) {
    checked = new Devices({
      onchange: renderDevicesDialog,
      onlevel: (level) => {
        /** @type {HTMLMeterElement} */ ($("level")).value = level;
      },
      storage: localStorage,
    });
    void checked.open();
  }
  renderDevicesDialog();
  dialog("devices").showModal();
}

function closeCheck() {
  if (!checked) return;
  checked.close();
  checked = null;
  if (!callView.devices) dialog("devices").close();
}

function renderDevicesDialog() {
  const devices = inDialog();
  if (!devices) return;
  const preview = /** @type {HTMLVideoElement} */ ($("preview"));
  const track = devices.tracks.video;
  const shown = /** @type {MediaStream | null} */ (preview.srcObject)?.getVideoTracks()[0] ?? null;
  if (shown !== track) preview.srcObject = track ? new MediaStream([track]) : null;
  preview.hidden = !track;
  for (const kind of /** @type {Kind[]} */ (["audio", "video"])) {
    tried[kind] = devices.state[kind];
    const select = /** @type {HTMLSelectElement} */ ($(`choose-${kind}`));
    const options = devices.choices.filter((choice) => choice.kind === kind);
    fillList(select, options, (choice) => choice.id, (choice) =>
      el("option", {value: choice.id}, choice.label || (kind === "audio" ? _("Microphone") : _("Camera"))));
    select.value = devices.chosen[kind];
    select.disabled = !options.length;
  }
  const complaints = [deviceWords("audio", devices.state.audio), deviceWords("video", devices.state.video)].filter(Boolean);
  const asking = devices.state.audio === "asking" || devices.state.video === "asking";
  say("devices-state", asking ? _("The browser asks you for permission …") : complaints.join(" ") || _("Both work."));
}

wireDialogs();
wireInvite(session);
onclick("check-devices", openDevices);
onclick("call-devices", openDevices);
onclick("try-ring", async () => {
  if (await ringView.alarm.unlock()) ringView.alarm.once();
});
dialog("devices").addEventListener("close", closeCheck);
for (const kind of /** @type {Kind[]} */ (["audio", "video"])) {
  $(`choose-${kind}`).addEventListener("change", (event) =>
    void inDialog()?.choose(kind, /** @type {HTMLSelectElement} */ (event.target).value));
}
for (const name of ["pointerdown", "keydown"]) {
  addEventListener(name, () => {
    // A tap anywhere lets an on-call tab ring again after a reload.
    if (ringView.alarm.blocked && staff.session?.state.desk && staff.session.state.desk.state !== "off_call") void ringView.alarm.unlock();
  });
}
setInterval(() => {
  const now = session()?.now();
  if (now === undefined) return;
  ringView.tick(now);
  tick(now);
  if (wasInCall) render(); // the picture's size is known without an event
}, 500);
render();
void staff.start();
