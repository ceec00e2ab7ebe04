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
# What gsub takes several backslashes for differs from awk to awk: none is asked to write more than one.
function quoted(text) { gsub(/\\/, "&&", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
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
  here = ++listeners
  ports[here] = port
  hosts[here] = host == "" ? "0.0.0.0" : host
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

function shell(text,    parts, count, i, out) {
  count = split(text, parts, "\047")
  out = parts[1]
  for (i = 2; i <= count; i++) out = out "\047\\\047\047" parts[i]
  return "\047" out "\047"
}
function command(text) { commands[++commanded] = text " \"$@\"" }
function remark(text) { commands[++commanded] = "# " text }

# A line of an ACL file: who is a user, "*" for all of them, or empty for who comes without a name. Rights are those to Kafka topics, so a
# filter is a command if it holds the whole of one; what it would widen is left to whoever knows better.
function user_rule(who, filter, access,   topic, operations, options, words, i, name) {
  operations = access == "read" ? "Read" : access == "write" ? "Write,Create" : access == "deny" ? "Read,Write" : "Read,Write,Create"
  words = place ": " (who == "" ? "who comes without a name" : who == "*" ? "every user" : "user " who) ": " access " " filter
  if (filter ~ /%c/) { undone(words, "rights can not name a client\047s id"); return }
  if (filter == "%u/#") {
    remark(words)
    for (i = 1; i <= users; i++) grant(names[i], operations, access, " --topic " shell(kafka(names[i])))
    return
  }
  if (filter ~ /%u/) { undone(words, "rights can not name a user\047s own level, unless it is the first"); return }
  if (filter == "#") options = " --topic \047*\047"
  else if (filter ~ /^[^+#\/]+\/#$/) options = " --topic " shell(topic_of(filter))
  if (options != "") { remark(words); grant(who == "" ? "ANONYMOUS" : who, operations, access, options); return }
  topic = topic_of(filter)
  undone(words, "it is less than a Kafka topic" (topic == "" ? "" : " (" topic ")") "; a rule of listen.mqtt.map makes one of it")
  name = kafka(literal(filter))
  if (topic != "" && name != "") {
    remark("  { filter = " quoted(filter) ", topic = " quoted(name == topic ? name ".own" : name) " }, and then")
    remark("  " granting(who == "" ? "ANONYMOUS" : who, operations, access, " --topic " shell(name == topic ? name ".own" : name)))
  }
}
function granting(who, operations, access, options) {
  return "brooklet acl add --principal " shell(who) " --operation " operations options (access == "deny" ? " --deny" : "")
}
function grant(who, operations, access, options) { command(granting(who, operations, access, options)) }
function undone(words, why) { remark(words ": by hand: " why); left_over++ }
function user_known(name) { if (!(name in known)) { known[name] = 1; names[++users] = name } }

BEGIN { FS = "\t"; persistence = 0; anonymous = ""; ruled = noted = commanded = users = 0 }

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
  if (option == "@password_file") { name = value; sub(/:.*/, "", name); if (name !~ /^#/ && name != "") user_known(name); return }
  if (option == "@acl_file") {
    if ($2 == "user") { who = value; sub(/^user[ \t]+/, "", who); user_known(who); return }
    if ($2 == "topic" || $2 == "pattern") {
      line = value
      sub(/^(topic|pattern)[ \t]+/, "", line)
      access = "readwrite"
      if (line ~ /^(readwrite|read|write|deny)[ \t]/) { access = line; sub(/[ \t].*/, "", access); sub(/^[a-z]+[ \t]+/, "", line) }
      acl_lines[++acls] = ($2 == "pattern" ? "*" : who) SUBSEP line SUBSEP access SUBSEP place
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
  if (option == "bind_address") { pending_host = $2; if (listeners == 1) hosts[1] = $2; return }
  if (option == "protocol") { if ($2 == "websockets") web[here] = 1; return }
  if (option == "websockets_origin") { origins = origins (origins == "" ? "" : ", ") quoted(value); return }
  if (option == "max_connections") {
    if (value + 0 < 1) say("there is always a most: listen.mqtt.max_connections, 128 by default")
    else set_key("listen.mqtt.max_connections", number(1, 65536, option))
    return
  }
  if (option == "mount_point") { by_hand("mount points are not there; a rule of listen.mqtt.map puts what is published under " value " where it belongs"); return }
  if (option ~ /^(bind_interface|socket_domain|http_dir|use_username_as_clientid|clientid_prefixes|auth_plugin|plugin|auth_opt_.*|plugin_opt_.*|psk_file|psk_hint|use_subject_as_username|allow_zero_length_clientid|auto_id_prefix|check_retain_source|set_tcp_nodelay|websockets_.*|tls_engine.*|tls_keyform|dhparamfile|ciphers|ciphers_tls1\.3|tls_version)$/) {
    by_hand(option " has no counterpart"); return
  }

  # --- certificates
  if (option ~ /^(cafile|certfile|keyfile|crlfile|require_certificate)$/) { tls[here, option] = value; return }
  if (option == "capath") { by_hand("listen.mqtt.tls.client_ca is a file with all CAs: put those of " value " into one"); return }
  if (option == "use_identity_as_username") { if (value == "true") by_name = 1; return }

  # --- who may come, and what they may do
  if (option == "allow_anonymous") { anonymous = value; return }
  if (option == "password_file") { passwords = 1; return }
  if (option == "acl_file") { acl_file = value; return }
  if (option == "max_keepalive") {
    if (value + 0 > 0) set_key("listen.mqtt.max_keepalive", quoted(number(1, 65535, option) "s"))
    return
  }
  if ( option == "include_dir" || option == "per_listener_settings") return

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
  if (option ~ /^(max_inflight_bytes|max_topic_alias|memory_limit|upgrade_outgoing_qos|maximum_qos|max_qos|allow_duplicate_messages|retain_expiry_interval|global_max_clients|global_max_connections)$/) {
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

# Which of the listeners is which: by MQTT or WebSocket, in the clear or by TLS, the first of each.
function sort_listeners(   i, kind) {
  if (!listeners) listener(1883, pending_host == "" ? "127.0.0.1" : pending_host)
  for (i = 1; i <= listeners; i++) {
    kind = (i in web ? "web" : "mqtt") (((i, "certfile") in tls) ? "s" : "")
    if (kind in first) {
      print "# not served: another listener of its kind, " addr(ports[i], hosts[i])
      print source ": there is one MQTT listener, with TLS and WebSocket beside it: " addr(ports[i], hosts[i]) " is not served" >"/dev/stderr"
    }
    else first[kind] = i
  }
  secured = ("mqtts" in first) ? first["mqtts"] : ("webs" in first) ? first["webs"] : 0
}
function at(kind) { return quoted(addr(ports[first[kind]], hosts[first[kind]])) }
function asks_clients() { return secured && tls[secured, "require_certificate"] == "true" }

function authentication(   methods) {
  if (asks_clients() && by_name) methods = quoted("certificate")
  if (passwords) methods = methods (methods == "" ? "" : ", ") quoted("password")
  if (methods != "" && anonymous == "true") methods = methods ", " quoted("none")
  if (methods == "" && anonymous == "false") {
    methods = quoted("password")
    print source ": nobody may come without a name, and no password_file says who else: add users" >"/dev/stderr"
  }
  if (methods != "") print "auth = [" methods "]"
  if (methods ~ /password/ && ("mqtt" in first) && hosts[first["mqtt"]] !~ /^(127\.|::1|localhost)/) {
    print "# As before: passwords cross the network in the clear. With TLS, or on this machine only, this line can go."
    print "clear_passwords = true"
    print source ": passwords cross the network in the clear at " addr(ports[first["mqtt"]], hosts[first["mqtt"]]) ": better by TLS" >"/dev/stderr"
  }
  if (acl_file != "") print "if_no_rule = \"deny\""
  else if (methods != "") print "if_no_rule = \"allow\""
}

function print_tls() {
  print ""
  print "[listen.mqtt.tls]"
  # Where there is no MQTT in the clear its address is that of TLS.
  if ("mqtt" in first) print "addr = " (("mqtts" in first) ? at("mqtts") : quoted("127.0.0.1:8883"))
  if ("webs" in first) print "websocket = " at("webs")
  print "cert = " quoted(tls[secured, "certfile"])
  print "key = " quoted(tls[secured, "keyfile"])
  if (!asks_clients()) return
  print "client_ca = " quoted(tls[secured, "cafile"])
  if ((secured, "crlfile") in tls) print "crl = " quoted(tls[secured, "crlfile"])
}

function print_rights(   i, parts) {
  for (i = 1; i <= users; i++) command("brooklet user add " shell(names[i]))
  for (i = 1; i <= acls; i++) {
    split(acl_lines[i], parts, SUBSEP)
    place = parts[4]
    user_rule(parts[1], parts[2], parts[3])
  }
  if (!commanded) return
  if (users) print source ": passwords were salted for Mosquitto and can not be carried over: `brooklet user add` asks for each" >"/dev/stderr"
  if (left_over) print source ": " left_over " of the access rules need a hand: see the comments beside the commands" >"/dev/stderr"
  if (rights == "") print "\n# Users and rights, once the gateway is up (\"$@\" is --data DIR or --broker ADDR):"
  else {
    print "#!/bin/sh\n# Users and rights, from " source " by from-mosquitto.sh. Once the gateway is up: sh " rights " --data DIR" >rights
    print "# Each user\047s password is asked for: Mosquitto\047s are salted, and can not be carried over.\nset -e" >rights
    print "\n# Users and rights are in " rights "."
  }
  for (i = 1; i <= commanded; i++) if (rights == "") print "# " commands[i]; else print commands[i] >rights
}

END {
  print "# From " source " by from-mosquitto.sh."
  for (i = 1; i <= noted; i++) print "# " notes[i]
  sort_listeners()
  if (!persistence) print "# Mosquitto kept nothing over a restart; Brooklet keeps what it acknowledges, and sessions."
  if (by_name && asks_clients()) print "\nsecurity.names = [\"cn\"]"
  print ""
  print "[listen.mqtt]"
  print "addr = " (("mqtt" in first) ? at("mqtt") : ("mqtts" in first) ? at("mqtts") : quoted("127.0.0.1:1883"))
  if ("web" in first) print "websocket = " at("web")
  if (origins != "") print "websocket_origins = [" origins "]"
  authentication()
  if (debug) print "# log.level = \"debug\""
  for (i = 1; i <= keys; i++) { key = order[i]; value = values[key]; sub(/^listen\.mqtt\./, "", key); print key " = " value }
  if (ruled) {
    print "map = ["
    for (i = 1; i <= ruled; i++) print "  " rules[i] ","
    print "]"
  }
  if (secured) print_tls()
  print_rights()
  uplinks()
}
