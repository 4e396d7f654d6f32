// SPDX-License-Identifier: Apache-2.0
// Made from media/relay/sdp_template.json by `python -m media.relay.description`.

export const SDP_TEMPLATE = {
  "payload_types": {"opus":111,"red":63,"VP8":96,"VP8/rtx":97,"VP9":98,"VP9/rtx":99},
  "extensions": {"mid":[1,"urn:ietf:params:rtp-hdrext:sdes:mid"],"abs-send-time":[2,"http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"],"transport-cc":[3,"http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"],"audio-level":[4,"urn:ietf:params:rtp-hdrext:ssrc-audio-level"],"playout-delay":[5,"http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"],"orientation":[6,"urn:3gpp:video-orientation"]},
  "not_for_audio": ["playout-delay","orientation"],
  "not_for_video": ["audio-level"],
  "opus": ["minptime=10","useinbandfec={fec}","usedtx={dtx}","maxaveragebitrate={max_average_bps}"],
  "picture": ["x-google-start-bitrate={start_kbps}","x-google-max-bitrate={max_kbps}"],
  "session": ["v=0","o=- 1 {version} IN IP4 0.0.0.0","s=-","t=0 0","a=group:BUNDLE 0 1","a=ice-lite","a=extmap-allow-mixed","a=msid-semantic: WMS *"],
  "transport": ["a=ice-ufrag:{ufrag}","a=ice-pwd:{pwd}","a=fingerprint:{fingerprint}","a=setup:active","a=candidate:{candidates}","a=end-of-candidates","a=rtcp-mux","a=rtcp-rsize","a=sendrecv"],
  "audio": ["m=audio 9 UDP/TLS/RTP/SAVPF {types}","c=IN IP4 0.0.0.0","a=mid:0","a=msid:selat voice","a=ptime:{ptime_ms}","a=extmap:{extensions}","a=rtpmap:111 opus/48000/2","a=fmtp:111 {opus}","{nack}a=rtcp-fb:111 nack","{transport_cc}a=rtcp-fb:111 transport-cc","{red}a=rtpmap:63 red/48000/2","{red}a=fmtp:63 111/111","a=ssrc:{ssrc} cname:selat"],
  "video": ["m=video 9 UDP/TLS/RTP/SAVPF {types}","c=IN IP4 0.0.0.0","b=AS:{max_kbps}","a=mid:1","a=msid:selat picture","a=extmap:{extensions}"],
  "codec": ["a=rtpmap:{type} {name}/90000","a=fmtp:{type} {fmtp}","a=rtcp-fb:{type} ccm fir","a=rtcp-fb:{type} nack","a=rtcp-fb:{type} nack pli","{remb}a=rtcp-fb:{type} goog-remb","{transport_cc}a=rtcp-fb:{type} transport-cc","a=rtpmap:{rtx} rtx/90000","a=fmtp:{rtx} apt={type}"],
  "video_end": ["a=ssrc-group:FID {ssrc} {rtx_ssrc}","a=ssrc:{ssrc} cname:selat","a=ssrc:{rtx_ssrc} cname:selat"],
};
