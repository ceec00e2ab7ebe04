# The work of scripts/from-mosquitto.sh. Input: FILE:LINE<tab>TEXT; of password and ACL files TEXT begins with @ and the option.

# What is to be said of this line, as a comment; `by_hand` also on standard error.
function say(text) { notes[++noted] = place ": " text }
function by_hand(text) { say(text); print place ": " text >"/dev/stderr" }
function set_key(key, value) { if (!(key in values)) order[++keys] = key; values[key] = value }
function number(low, high, what) {
  if (value + 0 < low) { say(what " " value " is less than the " low " that are allowed"); return low }
  if (value + 0 > high) { say(what " " value " is more than the " high " that are allowed"); return high }
  return value + 0
}
function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
# A name that Kafka takes, as Brooklet makes it.
function kafka(text) { gsub(/\//, ".", text); gsub(/[^A-Za-z0-9._-]/, "_", text); return text }
# The levels before the first wildcard.
function literal(filter,   n, i, parts, out) {
  n = split(filter, parts, "/")
  for (i = 1; i <= n && parts[i] != "+" && parts[i] != "#"; i++) out = out (i > 1 ? "/" : "") parts[i]
  return out
}
# The Kafka topic of a filter: by a rule if there is one for it, else the first level; empty if any may hold it.
function topic_of(filter,   first) {
  first = filter
  sub(/\/.*/, "", first)
  return first ~ /[+#]/ ? "" : kafka(first == "" ? "_" : first)
}

function addr(port, host) { return (host ~ /:/ && host !~ /^\[/ ? "[" host "]" : host) ":" port }

function listener(port, host) {
  listeners++
  here = listeners
  if (here == 1) { first_port = port; first_host = host == "" ? "0.0.0.0" : host }
  else others[here] = addr(port, host == "" ? "0.0.0.0" : host)
}

function duration(text,   n, unit) {
  n = text + 0
  unit = substr(text, length(text))
  if (unit == "h") return n "h"
  if (unit == "d") return n "d"
  if (unit == "w") return 7 * n "d"
  if (unit == "m") return 30 * n "d"
  if (unit == "y") return 365 * n "d"
  return ""
}

function bridge_topic(   direction, qos, local, remote, from, to) {
  direction = $3 == "" ? "out" : $3
  qos = $4
  local = $5 == "\"\"" ? "" : $5
  remote = $6 == "\"\"" ? "" : $6
  from = local pattern
  to = remote pattern
  if (qos == "0") say("messages reach Kafka exactly once whatever the QoS of the bridge")
  if (direction != "in") {
    if (from != to && literal(to) != "") {
      rules[++ruled] = "{ filter = " quoted(from) ", topic = " quoted(kafka(literal(to))) " }"
      say("the bridge's renaming is a rule: what matches " from " goes to the topic " kafka(literal(to)) "; the header mqtt.topic keeps the whole topic as it was")
    }
    else if (from != to) by_hand("a renaming to " to " leaves no level for the name of a Kafka topic: write a rule of listen.mqtt.map")
    out_topics[bridge] = out_topics[bridge] (out_topics[bridge] == "" ? "" : ", ") quoted(from != to && literal(to) != "" ? kafka(literal(to)) : (topic_of(from) == "" ? "*" : topic_of(from)))
  }
  if (direction != "out") in_topics[bridge] = in_topics[bridge] (in_topics[bridge] == "" ? "" : ", ") quoted(topic_of(to) == "" ? "*" : topic_of(to))
}

function user_rule(who, filter, access,   topic, operations) {
  topic = topic_of(filter)
  operations = access == "read" ? "read" : access == "write" ? "write" : access == "deny" ? "no" : "read, write"
  rights[++righted] = place ": " who ": " operations ", of what " filter " matches" (topic == "" ? "" : "; without a rule of listen.mqtt.map that is the topic " topic)
}

BEGIN { FS = "\t"; persistence = 0; anonymous = ""; ruled = noted = righted = users = 0 }

{
  place = $1
  text = $0
  sub(/^[^\t]*\t/, "", text)
  sub(/^[ \t]+/, "", text)
  if (text ~ /^#/ || text == "") next
  FS = " "
  $0 = text
  option = $1
  value = text
  sub(/^[^ \t]+[ \t]*/, "", value)
  sub(/[ \t]+$/, "", value)
  pattern = $2 == "\"\"" ? "" : $2
  read_option()
  FS = "\t"
}

function read_option() {
  # --- what a password file and an ACL file hold
  if (option == "@password_file") { name = value; sub(/:.*/, "", name); if (name !~ /^#/ && name != "") names[++users] = name; return }
  if (option == "@acl_file") {
    if ($2 == "user") { who = value; sub(/^user[ \t]+/, "", who); return }
    if ($2 == "topic" || $2 == "pattern") {
      line = value
      sub(/^(topic|pattern)[ \t]+/, "", line)
      access = "readwrite"
      if (line ~ /^(readwrite|read|write|deny)[ \t]/) { access = line; sub(/[ \t].*/, "", access); sub(/^[a-z]+[ \t]+/, "", line) }
      user_rule($2 == "pattern" ? "every user (%u its name, %c its client id)" : who == "" ? "who comes without a name" : "user " who, line, access)
    }
    return
  }
  if (option == "@unread") { by_hand(value " can't be read: what it holds is missing here"); return }

  # --- listeners
  if (option == "port") { listener($2, pending_host); return }
  if (option == "listener") {
    if ($2 == "0") { listener(1883, "127.0.0.1"); by_hand("sockets in the file system are not served: " $3) }
    else listener($2, $3)
    return
  }
  if (option == "bind_address") { pending_host = $2; if (listeners == 1) first_host = $2; return }
  if (option == "protocol") { if ($2 == "websockets") { by_hand("WebSocket is not served"); if (here == 1) websockets = 1 }; return }
  if (option == "max_connections") {
    if (value + 0 < 1) say("there is always a most: listen.mqtt.max_connections, 128 by default")
    else set_key("listen.mqtt.max_connections", number(1, 65536, option))
    return
  }
  if (option == "mount_point") { by_hand("mount points are not there; a rule of listen.mqtt.map puts what is published under " value " where it belongs"); return }
  if (option ~ /^(bind_interface|socket_domain|http_dir|use_username_as_clientid|clientid_prefixes|auth_plugin|plugin|auth_opt_.*|plugin_opt_.*|psk_file|psk_hint|use_identity_as_username|use_subject_as_username|allow_zero_length_clientid|auto_id_prefix|check_retain_source|set_tcp_nodelay|websockets_.*|tls_engine.*|tls_keyform|dhparamfile|ciphers|ciphers_tls1\.3|tls_version)$/) {
    by_hand(option " has no counterpart"); return
  }

  # --- certificates
  if (option ~ /^(cafile|capath|certfile|keyfile|crlfile|require_certificate)$/) {
    if (!tls++) by_hand("TLS is set up by hand: listen.mqtt.tls.*; see the lines below")
    certificates[tls] = place ": " option " " value
    return
  }

  # --- who may come, and what they may do
  if (option == "allow_anonymous") { anonymous = value; return }
  if (option == "password_file" || option == "acl_file" || option == "include_dir" || option == "per_listener_settings") return

  # --- persistence: there is nothing to choose
  if (option == "persistence") { persistence = value == "true"; return }
  if (option ~ /^autosave_/ || option == "persistence_file") { say("every acknowledged message is on flash: " option " is not needed"); return }
  if (option == "persistence_location") { say("the data directory is named by --data, or gateway by gateway by the service: " value); return }
  if (option == "persistent_client_expiration") {
    if (duration(value) == "") by_hand("what " option " " value " means is not known"); else set_key("listen.mqtt.session_expiry", quoted(duration(value)))
    return
  }

  # --- limits
  if (option == "max_packet_size" || option == "message_size_limit") {
    if (value + 0 == 0) say("there is always a most: listen.mqtt.max_packet_bytes, 1 MiB by default")
    else set_key("listen.mqtt.max_packet_bytes", number(1024, 8388608, option))
    return
  }
  if (option == "max_inflight_messages") {
    if (value + 0 == 0) say("there is always a most: listen.mqtt.max_inflight, 100 by default")
    else set_key("listen.mqtt.max_inflight", number(1, 65535, option))
    return
  }
  if (option ~ /^max_queued_(messages|bytes)$/) { say("sessions that are away cost positions in the log, not copies: store.max_bytes bounds what they can find; " option " is not needed"); return }
  if (option == "queue_qos0_messages") { if (value == "true") by_hand("subscriptions of QoS 0 gather nothing while their client is away"); return }
  if (option == "retain_available") { if (value == "false") set_key("listen.mqtt.max_retained", 0); return }
  if (option ~ /^(max_inflight_bytes|max_keepalive|max_topic_alias|memory_limit|upgrade_outgoing_qos|maximum_qos|max_qos|allow_duplicate_messages|retain_expiry_interval|global_max_clients|global_max_connections)$/) {
    by_hand(option " has no counterpart"); return
  }

  # --- logs and the process
  if (option == "log_type") { if ($2 == "debug" || $2 == "all") debug = 1; return }
  if (option ~ /^(log_|connection_messages|websockets_log_level)/) { say("the log goes to standard error: " option " is not needed"); return }
  if (option == "sys_interval") { say("there is no $SYS: `brooklet status` counts"); return }
  if (option ~ /^(user|pid_file)$/) { say("the service says so: " option " is not needed"); return }

  # --- bridges
  if (option == "connection") { bridge = value; bridges[++bridged] = bridge; bridge_place[bridge] = place; return }
  if (bridge != "" && (option == "address" || option == "addresses")) { bridge_address[bridge] = value; return }
  if (bridge != "" && option == "topic") { bridge_topic(); return }
  if (bridge != "" && option ~ /^(bridge_|remote_|local_|try_private|cleansession|clientid|username|password|notifications|notification_topic|keepalive_interval|start_type|restart_timeout|round_robin|idle_timeout|threshold)/) {
    say("of the bridge: " option " has no counterpart"); return
  }
  by_hand(option ": not known")
}

function uplinks(   i, name, label) {
  for (i = 1; i <= bridged; i++) {
    name = bridges[i]
    label = kafka(name)
    gsub(/\./, "-", label)
    print ""
    print "# " bridge_place[name] ": the bridge " name " to " bridge_address[name] "."
    print "# Brooklet forwards to Kafka clusters, exactly once, and not to other MQTT brokers. Where the centre has one:"
    if (out_topics[name] != "") print "# [uplink." label "]\n# bootstrap = [\"HOST:9092\"]\n# topics = [" out_topics[name] "]"
    if (in_topics[name] != "") print "# [downlink." label "]\n# bootstrap = [\"HOST:9092\"]\n# topics = [" in_topics[name] "]"
    print bridge_place[name] ": the bridge " name " becomes an uplink only if its other end is a Kafka cluster" >"/dev/stderr"
  }
}

END {
  print "# From " source " by from-mosquitto.sh."
  for (i = 1; i <= noted; i++) print "# " notes[i]
  if (!listeners) { first_port = 1883; first_host = pending_host == "" ? "127.0.0.1" : pending_host }
  for (i in others) { print "# not served: a second MQTT listener, " others[i]; print source ": there is one MQTT listener: " others[i] " is not served" >"/dev/stderr" }
  if (!persistence) print "# Mosquitto kept nothing over a restart; Brooklet keeps what it acknowledges, and sessions."
  print ""
  print "[listen.mqtt]"
  print "addr = " quoted(addr(first_port, first_host))
  if (debug) print "# log.level = \"debug\""
  for (i = 1; i <= keys; i++) { key = order[i]; value = values[key]; sub(/^listen\.mqtt\./, "", key); print key " = " value }
  if (ruled) {
    print "map = ["
    for (i = 1; i <= ruled; i++) print "  " rules[i] ","
    print "]"
  }
  if (tls) {
    print ""
    print "# Certificates; `brooklet check` tells what it makes of them."
    for (i = 1; i <= tls; i++) print "# " certificates[i]
  }
  if (anonymous == "false" || users || righted) {
    print ""
    print "# Users: their passwords were salted for Mosquitto and can't be carried over."
    for (i = 1; i <= users; i++) print "# brooklet user add " names[i]
    print "# Rights, by `brooklet acl`, on Kafka topics; a rule of listen.mqtt.map may make one of what has a right of its own:"
    for (i = 1; i <= righted; i++) print "# " rights[i]
    print source ": users and rights are no configuration: see the commands in the comments" >"/dev/stderr"
  }
  uplinks()
}
