// SPDX-License-Identifier: Apache-2.0
// Made by `make wire` from signalling/wire; don't edit.

/** Versions of the protocol, the preferred one first. */
export const PROTOCOL_VERSIONS = [1];

/**
 * What a WebSocket close code of ours means.
 * @type {Readonly<Record<number, Code>>}
 */
export const CLOSE_CODES = {
  4001: "unauthenticated",
  4002: "version_unsupported",
  4003: "binary_unsupported",
  4004: "hello_timeout",
  4005: "token_expired",
  4008: "slow_reader",
  4009: "too_large",
  4010: "displaced",
  4011: "signed_out",
  4012: "restarting",
  4013: "too_many_connections",
  4029: "rate_limited",
};

/**
 * Refusals after which a page may try the same again by itself.
 * @type {readonly string[]}
 */
export const RETRY_CODES = [
  "hello_timeout",
  "rate_limited",
  "content_offset",
  "throttled",
  "too_many_connections",
  "peer_absent",
  "slow_reader",
  "restarting",
  "unavailable",
  "internal",
];

/** @typedef {"invited"|"waiting"|"ringing"|"in_call"|"interrupted"|"callback"|"ended"|"abandoned"|"expired"} ConsultState Where a consult stands (`signalling.core.lifecycle` holds the table). */

/** @typedef {"off_call"|"available"|"ringing"|"in_call"} SpecialistState What a specialist is doing (`signalling.core.presence` holds the table). */

/** @typedef {"red"|"yellow"|"green"} Urgency Triage colour of the Interagency Integrated Triage Tool; orders the queue, is no diagnosis. */

/** @typedef {"general"|"emergency"|"internal"|"paediatrics"|"obstetrics"|"surgery"|"dermatology"|"psychiatry"} Specialty Fields in which specialists can be on call; a closed list so that it may label metrics. */

/** @typedef {"female"|"male"|"other"|"unknown"} Sex Administrative sex as FHIR's AdministrativeGender words it. */

/** @typedef {"nobody"|"relative"|"health_worker"|"other"} Assistant Who is with the patient and helps. */

/** @typedef {"advice"|"prescription"|"referral"|"emergency"|"follow_up"|"patient_left"|"lost"} Outcome How a consult ended; the specialist picks the first five. */

/** @typedef {"busy"|"not_my_field"|"language"|"other"} DeclineReason Why a specialist didn't take a ring. */

/** @typedef {"nobody_on_call"|"nobody_answered"|"waited_too_long"|"link_lost"} CallbackReason Why a call-back was promised instead of a call. */

/** @typedef {"host"|"srflx"|"prflx"|"relay"|"none"} CandidateType RTCIceCandidateType (W3C webrtc-stats), with `none` where there is no pair. */

/** @typedef {"udp"|"tcp"|"tls"|"none"} TransportProtocol How media leaves the browser; `tls` and `tcp` only by way of TURN. */

/** @typedef {"online"|"connection_change"|"no_media"|"failed"|"resumed"|"page_shown"} RestartTrigger Why the page restarted ICE. */

/** @typedef {"direct"|"relayed"} Route How media goes between the two sides of a call. */

/** @typedef {"still"|"auto_still"|"voice"} ContentKind What a piece of content is. */

/** @typedef {"asked"|"taking"|"declined"} StillStep Where the asking for a photograph stands. */

/** @typedef {"malformed"|"too_large"|"out_of_order"|"version_unsupported"|"binary_unsupported"|"hello_timeout"|"unauthenticated"|"token_invalid"|"token_expired"|"origin_forbidden"|"credentials_invalid"|"code_invalid"|"invitation_used"|"resume_invalid"|"takeover_refused"|"forbidden"|"not_found"|"wrong_state"|"ring_over"|"consult_over"|"consent_missing"|"account_exists"|"password_weak"|"rate_limited"|"content_type"|"content_metadata"|"content_size"|"content_offset"|"content_hash"|"content_quota"|"throttled"|"too_many_connections"|"peer_absent"|"slow_reader"|"displaced"|"signed_out"|"restarting"|"unavailable"|"internal"} Code A code of an error. */

/**
 * RTCSessionDescriptionInit (W3C webrtc §4.6); `pranswer` and `rollback` stay inside a browser.
 * @typedef {object} SessionDescription
 * @property {"answer"|"offer"} type
 * @property {string} sdp
 */

/**
 * RTCIceCandidateInit (W3C webrtc §4.8); an empty `candidate` ends a generation.
 * @typedef {object} IceCandidate
 * @property {string} candidate One line that begins with `candidate:`, or nothing.
 * @property {string|null} [sdpMid]
 * @property {number|null} [sdpMLineIndex]
 * @property {string|null} [usernameFragment]
 */

/**
 * RTCIceServer (W3C webrtc §4.2.4).
 * @typedef {object} IceServer
 * @property {string[]} urls
 * @property {string} [username]
 * @property {string} [credential]
 */

/**
 * What the patient, or who helps, tells before the call. Personal: kept sealed, shown to the specialist only.
 * @typedef {object} IntakeForm
 * @property {string} complaint
 * @property {number} ageMonths Age in months, so that infants fit; the triage chart changes at 144 (12 years).
 * @property {Sex} sex
 * @property {Assistant} assistant
 * @property {string} language In which the patient wants to talk.
 * @property {boolean} consent Agreement to the call; without it the intake is refused with `consent_missing`.
 * @property {string[]} [signs] Codes of danger signs from `signalling.core.triage`.
 * @property {boolean} [pregnant]
 * @property {string} [name] How the specialist may address the patient.
 * @property {string} [contact] Where to reach the patient if a call-back is promised.
 */

/**
 * Somebody on the other side, as far as this side may know.
 * @typedef {object} Person
 * @property {string} participant
 * @property {string} role A role of `auth.roles`.
 * @property {string} [name]
 * @property {Specialty[]} [specialties]
 * @property {string[]} [languages]
 * @property {string} [instance] The page load that is connected now; None = not connected. A new one means a new peer connection.
 */

/**
 * A health post, as a page shows it.
 * @typedef {object} PostView
 * @property {string} code
 * @property {string} name
 * @property {string} [region]
 * @property {string} [emergencyLine] Telephone number for emergencies at the post.
 * @property {boolean} [openNow]
 * @property {string} [linkType]
 */

/**
 * Another device asks to take the patient's place.
 * @typedef {object} TakeoverView
 * @property {string} request
 * @property {number} at
 */

/**
 * One waiting consult, for specialists and operators; nothing that names the patient.
 * @typedef {object} QueueItem
 * @property {string} consult
 * @property {ConsultState} state
 * @property {Urgency} urgency
 * @property {Specialty} specialty
 * @property {string} language
 * @property {number} since When the patient began to wait; UTC epoch seconds.
 * @property {PostView} [post]
 * @property {boolean} [present] Whether the patient's page is connected.
 * @property {string} [keeper] Who put this call on hold, and is rung first when the patient is back.
 * @property {"bad"|"excellent"|"fair"|"good"|"poor"} [quality] Of a call, on the operator's board: its worse direction.
 * @property {"both"|"patient"|"server"|"specialist"|"unknown"} [weak] Whose link that comes from; `server`: from neither.
 * @property {number} [callbackBy]
 * @property {string} [contact] For a promised call-back only, and for specialists only.
 * @property {number} [messages] What the patient wrote, said or showed since somebody answered; specialists read it by `messages`.
 */

/**
 * The ring on a specialist's desk.
 * @typedef {object} RingView
 * @property {string} consult
 * @property {number} until
 * @property {Urgency} urgency
 * @property {Specialty} specialty
 * @property {string} language
 * @property {number} since
 * @property {string} [complaint]
 * @property {number} [ageMonths]
 * @property {string[]} [signs]
 * @property {boolean} [interpreterNeeded]
 * @property {PostView} [post]
 * @property {"good-picture"|"messages"|"slow-picture"|"small-picture"|"unknown"|"voice"|"voice-with-gaps"} [outlook] What the patient's link can carry, where it has been measured.
 */

/**
 * A specialist on the operator's board.
 * @typedef {object} BoardSpecialist
 * @property {string} account
 * @property {string} name
 * @property {SpecialistState} state
 * @property {Specialty[]} specialties
 * @property {string[]} languages
 * @property {string} [consult]
 */

/**
 * A post's row on the operator's board.
 * @typedef {object} BoardPost
 * @property {PostView} post
 * @property {number} [waiting]
 * @property {number} [inCall]
 * @property {number} [today] Consults that began to wait since midnight UTC.
 */

/**
 * One line of a specialist's history.
 * @typedef {object} PastConsult
 * @property {string} consult
 * @property {number} at When the call was accepted, or the promised call-back answered by a message.
 * @property {ConsultState} state
 * @property {Urgency} urgency
 * @property {Specialty} specialty
 * @property {Outcome} [outcome]
 * @property {number} [durationS]
 * @property {string} [note]
 * @property {string} [complaint]
 * @property {boolean} [answered] By a message, without a call.
 */

/**
 * Where the relay listens, as it is reached from outside.
 * @typedef {object} RelayCandidate
 * @property {"tcp"|"udp"} transport
 * @property {string} address
 * @property {number} port
 */

/**
 * What the relay sends and wants of voice.
 * @typedef {object} AudioOffer
 * @property {number} ssrc What it sends with.
 * @property {10|20|40|60|120} [ptimeMs]
 * @property {number|null} [maxAverageBps] Chromium's own choice without it: about 32 kbit/s.
 * @property {boolean} [fec]
 * @property {boolean} [dtx]
 * @property {"first"|"no"|"yes"} [red] `first`: the browser sends it (one frame back); `yes`: it may be sent to the browser.
 * @property {boolean} [nack]
 */

/**
 * What the relay sends and wants of pictures.
 * @typedef {object} VideoOffer
 * @property {number} ssrc
 * @property {number} rtxSsrc
 * @property {("VP8"|"VP9")[]} [codecs] The first is what the browser sends until `Limits.codec` says another.
 * @property {number|null} [startKbps] Chromium starts with 300 otherwise and fills a thin link's queue.
 * @property {number|null} [maxKbps]
 */

/**
 * What the relay offers one participant: a layout for two people, one voice and one picture each way.
 * @typedef {object} LegOffer
 * @property {string[]} ice `ufrag:pwd`: the main pair, then the spares for restarts without signalling.
 * @property {string} fingerprint
 * @property {RelayCandidate[]} candidates
 * @property {AudioOffer} audio
 * @property {VideoOffer} video
 * @property {("abs-send-time"|"audio-level"|"mid"|"orientation"|"playout-delay"|"transport-cc")[]} extensions
 * @property {boolean} [transportCc] Only with feedback that the relay really sends: without it Chromium sinks to 80 kbit/s in 8 s.
 * @property {boolean} [remb]
 */

/**
 * What the browser answered for one kind.
 * @typedef {object} MediaAnswer
 * @property {number[]} payloadTypes What it would rather send first; none: it refused the kind.
 * @property {number[]} ssrcs What it sends with: the stream's, then its retransmissions'. Empty where it does not say.
 * @property {number[]} extensions
 * @property {"inactive"|"recvonly"|"sendonly"|"sendrecv"} direction
 */

/**
 * What a browser answered.
 * @typedef {object} LegAnswer
 * @property {string} ice `ufrag:pwd` of the browser; a lite relay has no use for them but to tell restarts apart.
 * @property {string[]} fingerprints
 * @property {"passive"} setup The relay is the DTLS client, always.
 * @property {MediaAnswer} audio
 * @property {MediaAnswer} video
 * @property {boolean} [saveData] The browser was asked to save data (`navigator.connection.saveData`): the link is asked for less.
 */

/**
 * A leg that nobody has yet.
 * @typedef {object} MintedLeg
 * @property {string} leg
 * @property {LegOffer} offer
 */

/**
 * Whose a leg is.
 * @typedef {object} Seat
 * @property {string} leg
 * @property {string} consult
 * @property {string} participant
 * @property {string} instance The page load that it was made for: another one gets another leg.
 * @property {string} role A role of `auth.roles`.
 * @property {boolean} [connected] ICE and DTLS stand.
 */

/**
 * When a page stops its picture by itself, whether or not anybody can be told.
 * @typedef {object} Brake
 * @property {number} noReportMs Nothing new was heard of what it sends (`remote-inbound-rtp`) for so long.
 * @property {number} roundTripMs Or the round trip was longer than this in `polls` new reports in a row, looked for each `poll_ms`.
 * @property {number} polls
 * @property {number} pollMs
 */

/**
 * The most that a page may send now: the minimum of its own up-link and what its slowest watcher can take.
 * @typedef {object} Limits
 * @property {number} videoMaxBps Of the picture, headers and retransmissions not counted; 0 = no picture.
 * @property {number|null} [videoMaxHeight] Lines; None = as the camera gives them.
 * @property {number|null} [videoMaxFps]
 * @property {number|null} [audioMaxBps] Opus `maxaveragebitrate` (RFC 7587 §6.1); None = the browser's choice.
 * @property {10|20|40|60|120} [ptimeMs]
 * @property {boolean} [fec]
 * @property {boolean} [dtx]
 * @property {"first"|"no"|"yes"} [red]
 * @property {"VP8"|"VP9"} [codec] Of the picture: what all who look can decode.
 * @property {number} [copyMs] How far behind its frame each copy of the voice is to travel (`red` is `first`), so that it outlives a burst of losses; 0 = one frame, as browsers do by themselves.
 * @property {number} [hearMs] For how long the voice that is heard must be kept at least, or copies come too late; 0 = as the browser likes.
 * @property {"glimpse"|"medium"|"open"|"small"|"standard"|"text"|"voice"|"voice-min"} [rung]
 * @property {"back"|"brake"|"loss"|"proved"|"queue"|"rate"|"redundancy"|"silence"|"start"|"watcher"|"wish"} [reason] Why it is this rung, or these settings of it.
 * @property {"receiver"|"sender"|null} [whose] Whose link made it so, or keeps the direction from more; None: nobody's, or not known.
 * @property {boolean} [detail] Resolution matters more than frame rate: `degradationPreference`.
 * @property {number} [stillsBps] What stills and messages may use of the up-link beside the call; 0 = nothing.
 * @property {Brake|null} [brake] None: no picture is sent, there is nothing to stop.
 */

/**
 * What an `entry` of kind `still` or `voice` stands for; its bytes are fetched by `content_read`.
 * @typedef {object} ContentView
 * @property {ContentKind} kind
 * @property {string} mime
 * @property {number} bytes
 * @property {string} sha256
 * @property {number} [durationMs]
 * @property {string} [previewOf] The key of the sharper picture that this one announces.
 */

/**
 * One line of what was written and said.
 * @typedef {object} MessageLine
 * @property {number} at
 * @property {string} author The role.
 * @property {string} key
 * @property {string} [by]
 * @property {string} [text]
 * @property {ContentView} [content]
 */

/**
 * What a relay measured of one leg's link.
 * @typedef {object} LegLink
 * @property {string} leg
 * @property {number|null} rttMs
 * @property {number} upLoss From the page to the relay.
 * @property {number} downLoss
 * @property {number} upBps What it was seen to carry; 0 = not known, nobody has filled it.
 * @property {number} downBps
 * @property {number} [upKnownBps] What the relay reckons with, proved or not: what another one may begin with.
 * @property {number} [downKnownBps]
 */

/**
 * How one direction of a call is, in one word.
 * @typedef {object} DirectionQuality
 * @property {"bad"|"excellent"|"fair"|"good"|"poor"} word
 * @property {"codec"|"delay"|"frame-rate"|"frozen"|"loss"|"none"} [reason]
 * @property {"both"|"other"|"own"|"server"|"unknown"} [where]
 */

/**
 * First message of a connection, within the deadline; answered by `welcome`, then by everything missed.
 * @typedef {object} Hello
 * @property {"hello"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {number[]} protocols Versions that the client speaks, the preferred one first.
 * @property {string} token A session token (audience `session`).
 * @property {string} instance This page load; the same again after a lost socket.
 * @property {string|null} [consult]
 * @property {number} [cursor] Of `consult`: the newest `entry` that the page has; everything after it follows the welcome, once, in order.
 */

/**
 * Are you there? A page can't see the server's pings, so it asks when it has heard nothing for a while.
 * @typedef {object} Ping
 * @property {"ping"} type
 * @property {number} id Above every earlier id of this connection.
 */

/**
 * The patient's intake: the consult begins to wait.
 * @typedef {object} Intake
 * @property {"intake"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {IntakeForm} form
 */

/**
 * The patient goes: before the call the consult is abandoned, in the call it ends.
 * @typedef {object} Leave
 * @property {"leave"} type
 * @property {number} id Above every earlier id of this connection.
 */

/**
 * A line of chat. `key` makes a repeat after a lost socket harmless: the same key is recorded once.
 * @typedef {object} Chat
 * @property {"chat"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} key
 * @property {string} text
 */

/**
 * A local description for the other participant. Forwarded, never stored; answered only by an error.
 * @typedef {object} Description
 * @property {"description"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {SessionDescription} description
 */

/**
 * A local candidate for the other participant (trickle ICE, RFC 8838). Forwarded, never stored.
 * @typedef {object} Candidate
 * @property {"candidate"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {IceCandidate|null} candidate
 */

/**
 * Fresh TURN credentials, please; answered by `ice`.
 * @typedef {object} TurnRequest
 * @property {"turn"} type
 * @property {number} id Above every earlier id of this connection.
 */

/**
 * A specialist goes on or off call.
 * @typedef {object} OnCall
 * @property {"on_call"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {boolean} on
 */

/**
 * Take the ring.
 * @typedef {object} Accept
 * @property {"accept"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 */

/**
 * Don't take the ring; it rolls over to the next specialist at once.
 * @typedef {object} Decline
 * @property {"decline"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {DeclineReason} reason
 */

/**
 * A specialist takes up a promised call-back by hand: the consult rings at this desk if the patient is there.
 * @typedef {object} CallBack
 * @property {"call_back"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 */

/**
 * Hand the consult to another specialty; the patient waits again, ahead of newcomers of the same colour.
 * @typedef {object} Transfer
 * @property {"transfer"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {Specialty} specialty
 * @property {string} [reason]
 */

/**
 * Put a call on hold whose patient's link is down, to take others meanwhile: it rings here first when they are back.
 * @typedef {object} Hold
 * @property {"hold"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 */

/**
 * The specialist's note, whole; replaces the earlier one.
 * @typedef {object} Note
 * @property {"note"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} text
 */

/**
 * The specialist ends the consult.
 * @typedef {object} End
 * @property {"end"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {Outcome} outcome
 * @property {string} [summary] For the patient to keep.
 */

/**
 * A new consult, with a link and a code to send; answered by `invited`.
 * @typedef {object} Invite
 * @property {"invite"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {Specialty} [specialty]
 * @property {string|null} [language]
 * @property {string|null} [post]
 */

/**
 * Whether another device may take the patient's place.
 * @typedef {object} DecideTakeover
 * @property {"decide_takeover"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} request
 * @property {boolean} allow
 */

/**
 * The specialist's past consults, newest first; answered by `past`.
 * @typedef {object} HistoryRequest
 * @property {"history"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {number|null} [before] Only consults accepted before this instant: the next page.
 */

/**
 * How long the phases of a call's set-up took in this browser, from `in_call` seen; for metrics only.
 * @typedef {object} SetupReport
 * @property {"setup_report"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {number} connectedMs Until `connectionState` connected.
 * @property {number|null} [firstAudioMs]
 * @property {number|null} [firstFrameMs]
 * @property {CandidateType} [localCandidate]
 * @property {CandidateType} [remoteCandidate]
 * @property {TransportProtocol} [protocol]
 */

/**
 * ICE was restarted, why, and after how long media flowed again; for metrics only.
 * @typedef {object} RestartReport
 * @property {"restart_report"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {RestartTrigger} trigger
 * @property {number|null} [recoveredMs] None = it did not come back before the next restart.
 */

/**
 * What this page's browser answered to a leg's offer; answered only by an error.
 * @typedef {object} LegAnswered
 * @property {"leg_answer"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} leg
 * @property {LegAnswer} answer
 */

/**
 * Nothing comes from the relay though restarts were tried; the node judges whether the relay is gone.
 * @typedef {object} LegTrouble
 * @property {"leg_trouble"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} leg
 * @property {number} silentMs
 */

/**
 * What a relay can take and carries: right after the welcome, then every second. Silence means trouble.
 * @typedef {object} RelayStatus
 * @property {"relay_status"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {number} legs Seated now.
 * @property {number} legsMax
 * @property {number} loadRatio CPU time per time of the last seconds; 1 = one core is full.
 * @property {boolean} [draining] It goes down: nobody new; its calls are moved one by one.
 */

/**
 * Legs that the node may hand out; sent after the welcome and whenever one was.
 * @typedef {object} LegsMinted
 * @property {"legs_minted"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {MintedLeg[]} legs
 */

/**
 * After a welcome: the legs that people have, from before this connection; the node takes them over.
 * @typedef {object} LegsSeated
 * @property {"legs_seated"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {Seat[]} legs
 * @property {string[]} [forwarding] Consults that are being forwarded.
 * @property {boolean} [more] Another such message follows.
 */

/**
 * A leg came up or ended.
 * @typedef {object} LegState
 * @property {"leg_state"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} leg
 * @property {"closed"|"connected"|"flowing"} state `flowing`: the first forwarded voice of its call went out to it.
 * @property {number|null} [iceMs]
 * @property {number|null} [dtlsMs]
 */

/**
 * What the participant of a leg may send; passed on to the page as `limits`.
 * @typedef {object} LimitLeg
 * @property {"limit_leg"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} leg
 * @property {Limits} limits
 */

/**
 * What the link of a leg that waits was measured to carry; passed on to a patient's page as `outlook`.
 * @typedef {object} LegProbed
 * @property {"leg_probed"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} leg
 * @property {"good-picture"|"messages"|"slow-picture"|"small-picture"|"unknown"|"voice"|"voice-with-gaps"} outlook
 * @property {number} upBps
 * @property {number} downBps
 * @property {number|null} [rttMs]
 */

/**
 * This page has stopped its picture by itself (`limits.brake`); only the relay raises it again.
 * @typedef {object} Braked
 * @property {"braked"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} leg
 */

/**
 * What matters to the one who looks, of all that the others send: motion, detail, or the voice alone.
 * @typedef {object} Wish
 * @property {"wish"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {"detail"|"motion"|"voice"} wish
 */

/**
 * Begin to send content, or go on with it: the same `key` resumes where the server has it; answered by `content_open`.
 * @typedef {object} ContentBegin
 * @property {"content_begin"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} key Names the content within the consult, for good.
 * @property {ContentKind} kind
 * @property {string} mime `image/jpeg` for pictures; `audio/webm`, `audio/ogg` or `audio/mp4` for voice.
 * @property {number} bytes
 * @property {string} sha256 Of the whole content, in hex.
 * @property {number} [durationMs] Of a voice message.
 * @property {string|null} [previewOf] Of a small picture: the key of the sharper one that follows.
 */

/**
 * Fetch some bytes of content; they come as binary frames, then `ok`. The reader sets the pace.
 * @typedef {object} ContentRead
 * @property {"content_read"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} key
 * @property {number} handle Stands in the frames.
 * @property {number} offset
 * @property {number} bytes
 * @property {number} [pieceBytes] Data in one frame.
 */

/**
 * Ask for a photograph (specialist), or say what becomes of it (patient). Forwarded, never stored.
 * @typedef {object} StillRequest
 * @property {"still"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {StillStep} step
 */

/**
 * A specialist reads what a patient who was promised a call-back wrote and said; answered by `messages`. Who reads is recorded in the consult. They come in slices: while an answer says `more`, the reader asks again.
 * @typedef {object} MessagesRequest
 * @property {"messages"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {number} [skip] Lines that the reader has already, from the oldest on.
 */

/**
 * A specialist closes a promised call-back: the message that they wrote or spoke last is the answer, no call is needed. `wrong_state` where somebody else had the last word. What the patient writes or says next is a new promise.
 * @typedef {object} CallbackAnswered
 * @property {"callback_answered"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 */

/**
 * What this page received in the last seconds of a call; for words and metrics, never stored. `data` in base 64: round trip of the pair in ms (2 octets, big endian), Opus rate of what this page sends / 500 (0 = nothing), frame length of it in ms, lines of the picture received / 8, flags (1 a picture is sent, 2 the microphone is muted, 4 taken by the system, 8 the page is hidden). Then for each second: its length, sound received, of that concealed (silence not counted), in so many bursts, jitter buffer in 10 ms, frames decoded, time in gaps over 1 s between frames; spans in 20 ms. All are differences of webrtc-stats counters. At most one in 2 s counts.
 * @typedef {object} Reception
 * @property {"reception"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} data
 */

/**
 * What a relay measured of its legs in calls, each every 5 s: which of a call's two links is the weak one.
 * @typedef {object} LegLinks
 * @property {"leg_links"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {LegLink[]} links
 */

/**
 * What this page counted of its connection to the other browser since its last such message, on route `direct`. `data` in base 64, big endian: time since then in 10 ms (2 octets), octets that came, with headers (4), packets that came (2), packets that are missing (2), octets sent (4), the shortest new round trip in ms (2; 65,535 = none), the shortest new delay of a sender report in ms above that of the connection's first (2, signed; -32,768 = none), what the browser's own control would send in kbit/s (2; 0 = not known), flags (1 the connection's first message, 2 the picture was stopped by this page's brake: only new `limits` raise it again).
 * @typedef {object} Way
 * @property {"way"} type
 * @property {number} id Above every earlier id of this connection.
 * @property {string} consult
 * @property {string} data
 */

/**
 * The hello was accepted. What this participant must know follows in `consult`, `entry`, `desk`, `board`.
 * @typedef {object} Welcome
 * @property {"welcome"} type
 * @property {number} re
 * @property {number} protocol
 * @property {number} now The server's clock, UTC epoch seconds: pages show spans by this clock.
 * @property {string} role
 * @property {string} participant
 * @property {string} connection
 * @property {number} heartbeatS A ping (RFC 6455 §5.5.2) comes about this often; a page that hears nothing for three is not connected.
 * @property {IceServer[]} [iceServers]
 * @property {"all"|"relay"} [iceTransportPolicy]
 * @property {number} [iceExpiresAt] When the TURN credentials run out; ask again before that.
 * @property {string} [name]
 */

/**
 * Done, and durable.
 * @typedef {object} Ok
 * @property {"ok"} type
 * @property {number} re
 */

/**
 * Refused; nothing was changed. `re` is missing where the message could not be read.
 * @typedef {object} ErrorMessage
 * @property {"error"} type
 * @property {string} code A code of `signalling.wire.codes`.
 * @property {number} [re]
 * @property {number} [retryAfterMs]
 * @property {string} [ref] With `internal`: find this in the server's log.
 */

/**
 * A consult as this participant may see it, whole; replaces what was shown before.
 * @typedef {object} ConsultView
 * @property {"consult"} type
 * @property {string} consult
 * @property {number} version Events folded into this view: never show an older one over a newer one.
 * @property {ConsultState} state
 * @property {Specialty} specialty
 * @property {string} [language]
 * @property {Urgency} [urgency]
 * @property {number} [since] When the patient began to wait.
 * @property {number} [deadlineAt] When this state runs out.
 * @property {number} [place] Place in the queue, 1 = next.
 * @property {number} [waitS] Median wait of recent consults of this urgency; missing = unknown.
 * @property {number} [onCall] How many specialists of this specialty are on call now.
 * @property {Person} [peer]
 * @property {Route} [route] How media goes. `relayed`: the relay's offer comes in `leg`, before the call begins.
 * @property {boolean} [polite] On route `direct`: this side's part in perfect negotiation (W3C webrtc §10.7).
 * @property {string[]} [away] Roles whose connection is lost.
 * @property {number} [acceptedAt]
 * @property {boolean} [interpreterNeeded]
 * @property {PostView} [post]
 * @property {IntakeForm} [intake]
 * @property {number} [callbackBy]
 * @property {CallbackReason} [callbackReason]
 * @property {number} [answeredAt] A specialist answered the promised call-back by a message; there is none any more, until the patient says something.
 * @property {Outcome} [outcome]
 * @property {string} [summary]
 * @property {string} [note] For the specialist only.
 * @property {boolean} [kept] The call was put on hold: the specialist who was in it is rung first.
 * @property {TakeoverView[]} [takeovers]
 * @property {number} [endedAt]
 */

/**
 * One durable line of a consult's timeline, delivered exactly once, in order of `cursor`.
 * @typedef {object} Entry
 * @property {"entry"} type
 * @property {string} consult
 * @property {number} cursor
 * @property {number} at
 * @property {"accepted"|"answered"|"back"|"chat"|"device_changed"|"ended"|"held"|"joined"|"lost"|"still"|"transferred"|"voice"} kind
 * @property {string} [author] The role that did it; empty = time did.
 * @property {string} [by] The specialist who did it: after a transfer there were two.
 * @property {string} [key]
 * @property {string} [text]
 * @property {ContentView} [content] Of a photograph or a voice message, which is fetched by `key`.
 */

/**
 * The other participant's description; `sender` is the server's knowledge, not the sender's claim.
 * @typedef {object} PeerDescription
 * @property {"description"} type
 * @property {string} consult
 * @property {string} sender
 * @property {string} instance
 * @property {SessionDescription} description
 */

/**
 * The other participant's candidate; null ends the candidates.
 * @typedef {object} PeerCandidate
 * @property {"candidate"} type
 * @property {string} consult
 * @property {string} sender
 * @property {string} instance
 * @property {IceCandidate|null} candidate
 */

/**
 * Fresh TURN credentials.
 * @typedef {object} Ice
 * @property {"ice"} type
 * @property {number} re
 * @property {IceServer[]} iceServers
 * @property {number} [iceExpiresAt]
 */

/**
 * A specialist's desk, whole.
 * @typedef {object} Desk
 * @property {"desk"} type
 * @property {SpecialistState} state
 * @property {RingView} [ring]
 * @property {string} [consult] The consult that this specialist is in.
 * @property {QueueItem[]} [queue]
 * @property {QueueItem[]} [callbacks]
 */

/**
 * The operator's board, whole; at most one a second.
 * @typedef {object} Board
 * @property {"board"} type
 * @property {number} now
 * @property {QueueItem[]} [waiting]
 * @property {QueueItem[]} [calls]
 * @property {QueueItem[]} [callbacks]
 * @property {BoardSpecialist[]} [specialists]
 * @property {BoardPost[]} [posts]
 * @property {Record<string, number>} [waitMedianS] Median wait by urgency; a colour without observations is missing.
 * @property {Record<string, TakeoverView[]>} [takeovers] Open requests by consult.
 */

/**
 * A new consult's link and code. The token travels in the URL's fragment and nowhere else.
 * @typedef {object} Invited
 * @property {"invited"} type
 * @property {number} re
 * @property {string} consult
 * @property {string} url
 * @property {string} code
 * @property {string} qr The link as a QR code, an SVG image's text.
 * @property {number} expiresAt
 */

/**
 * Past consults, newest first.
 * @typedef {object} Past
 * @property {"past"} type
 * @property {number} re
 * @property {PastConsult[]} [consults]
 * @property {boolean} [more]
 */

/**
 * A leg for this page load: make a connection from it now, before anybody is called; send nothing before the call. A newer one (not `standby`) takes the older one's place: the old connection is closed at the first voice from the new.
 * @typedef {object} LegGiven
 * @property {"leg"} type
 * @property {string} consult
 * @property {string} leg
 * @property {LegOffer} offer
 * @property {boolean} [standby] Of another relay, for the case that the first one dies: only made when nothing arrives any more.
 */

/**
 * The standby leg is the leg from now on: its relay forwards the call.
 * @typedef {object} LegSwitch
 * @property {"leg_switch"} type
 * @property {string} consult
 * @property {string} leg
 */

/**
 * What this page may send on a leg from now on; on route `direct` to the other browser.
 * @typedef {object} LegLimits
 * @property {"limits"} type
 * @property {string} consult
 * @property {string} leg Empty on route `direct`.
 * @property {Limits} limits
 */

/**
 * A minted leg was handed out.
 * @typedef {object} LegSeated
 * @property {"seat"} type
 * @property {Seat} seat
 */

/**
 * What the leg's browser answered.
 * @typedef {object} RelayAnswer
 * @property {"leg_answer"} type
 * @property {string} leg
 * @property {LegAnswer} answer
 */

/**
 * Forward between the legs of a consult from now on, those that come later too, or stop doing so.
 * @typedef {object} Forwarding
 * @property {"forwarding"} type
 * @property {string} consult
 * @property {string[]} between Who sees and hears each other; empty = stop.
 */

/**
 * A leg is not needed any more.
 * @typedef {object} CloseLeg
 * @property {"close_leg"} type
 * @property {string} leg
 */

/**
 * What the other side may send to this page now, and why; sent when that becomes another rung, or another's link.
 * @typedef {object} PeerLink
 * @property {"peer_link"} type
 * @property {string} consult
 * @property {"glimpse"|"medium"|"open"|"small"|"standard"|"text"|"voice"|"voice-min"} rung
 * @property {"back"|"brake"|"loss"|"proved"|"queue"|"rate"|"redundancy"|"silence"|"start"|"watcher"|"wish"} reason
 * @property {"receiver"|"sender"} [whose] Whose link made it so, or keeps the direction from more: the receiver's is this page's own.
 */

/**
 * What the patient's link will make possible, measured while the patient waits.
 * @typedef {object} Outlook
 * @property {"outlook"} type
 * @property {string} consult
 * @property {"good-picture"|"messages"|"slow-picture"|"small-picture"|"unknown"|"voice"|"voice-with-gaps"} outlook
 * @property {number} upBps From the patient; 0 = not known.
 * @property {number} downBps
 * @property {number} [rttMs]
 */

/**
 * The page of a leg has stopped its picture by itself.
 * @typedef {object} LegBraked
 * @property {"braked"} type
 * @property {string} leg
 */

/**
 * What matters to one participant of a consult, of all that the others send.
 * @typedef {object} Wished
 * @property {"wish"} type
 * @property {string} consult
 * @property {string} participant
 * @property {"detail"|"motion"|"voice"} wish
 */

/**
 * What a participant's link carries up beside the media: content. Said each second while it comes, and 0 when it is over. What was not said again for 2.5 s is over too.
 * @typedef {object} CarriedBeside
 * @property {"carried_beside"} type
 * @property {string} consult
 * @property {string} participant
 * @property {number} bps
 */

/**
 * What another relay knew of the link of a leg in a call: this one takes the call over, and begins there. Said with the `seat`, or of a standby leg before `forwarding`; a leg whose call has begun here knows better.
 * @typedef {object} LegKnown
 * @property {"leg_known"} type
 * @property {string} leg
 * @property {"glimpse"|"medium"|"open"|"small"|"standard"|"text"|"voice"|"voice-min"} rung What its page sent on.
 * @property {number} upBps
 * @property {number} downBps
 * @property {number} rttMs
 */

/**
 * Pieces may be sent under this handle, from `offset` on; with `done` the content is there already.
 * @typedef {object} ContentOpen
 * @property {"content_open"} type
 * @property {number} re
 * @property {number} handle
 * @property {number} offset
 * @property {boolean} [done]
 */

/**
 * The handle is over: the content is there whole and durable, or refused with a code.
 * @typedef {object} ContentClosed
 * @property {"content_closed"} type
 * @property {number} handle
 * @property {Code} [code]
 */

/**
 * How much of the other side's content has arrived at the server; for an automatic picture, that it can be fetched.
 * @typedef {object} ContentProgress
 * @property {"content_progress"} type
 * @property {string} consult
 * @property {string} key
 * @property {ContentKind} kind
 * @property {number} bytes
 * @property {number} received
 * @property {string} [previewOf]
 */

/**
 * The other side asks for a photograph, takes one, or declines.
 * @typedef {object} Still
 * @property {"still"} type
 * @property {string} consult
 * @property {StillStep} step
 */

/**
 * What was written and said in a consult so far, oldest first, after the lines that were skipped.
 * @typedef {object} Messages
 * @property {"messages"} type
 * @property {number} re
 * @property {string} consult
 * @property {MessageLine[]} lines
 * @property {boolean} [more] There are newer lines: ask again, and skip these too.
 */

/**
 * How the call is, sent when a word changes.
 * @typedef {object} Quality
 * @property {"quality"} type
 * @property {string} consult
 * @property {DirectionQuality} [mine] What this page hears and sees; missing = nothing to judge.
 * @property {DirectionQuality} [theirs] What the other side hears and sees of this one.
 * @property {"muted"|"none"|"on"|"taken"} [microphone] The other side's.
 * @property {boolean} [hidden] The other side's page is in the background.
 */

/**
 * What a page sends.
 * @typedef {Hello|Ping|Intake|Leave|Chat|Description|Candidate|TurnRequest|OnCall|Accept|Decline|CallBack|Transfer|Hold|Note|End|Invite|DecideTakeover|HistoryRequest|SetupReport|RestartReport|LegAnswered|LegTrouble|RelayStatus|LegsMinted|LegsSeated|LegState|LimitLeg|LegProbed|Braked|Wish|ContentBegin|ContentRead|StillRequest|MessagesRequest|CallbackAnswered|Reception|LegLinks|Way} ClientMessage
 */

/**
 * What a page receives.
 * @typedef {Welcome|Ok|ErrorMessage|ConsultView|Entry|PeerDescription|PeerCandidate|Ice|Desk|Board|Invited|Past|LegGiven|LegSwitch|LegLimits|LegSeated|RelayAnswer|Forwarding|CloseLeg|PeerLink|Outlook|LegBraked|Wished|CarriedBeside|LegKnown|ContentOpen|ContentClosed|ContentProgress|Still|Messages|Quality} ServerMessage
 */

/**
 * What a page hands to the transport, which adds the id.
 * @template T
 * @typedef {T extends unknown ? Omit<T, 'id'> : never} WithoutId
 */

/** @typedef {WithoutId<ClientMessage>} ClientRequest */
