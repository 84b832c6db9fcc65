complete -c iipsrv -l bind -d 'Listen for FastCGI on HOST:PORT, :PORT, [v6]:PORT or /path.sock' -r
complete -c iipsrv -l backlog -d 'Listen backlog' -r
complete -c iipsrv -l http -d 'Listen for HTTP too: the same URLs as behind a web server, and a viewer at /' -r
complete -c iipsrv -l demo -d 'Serve the pictures in fixtures/ at http://127.0.0.1:8080/'
complete -c iipsrv -l check-config -d 'Print every setting and where it came from; exit 1 when something is wrong'
complete -c iipsrv -s h -l help -d 'Print help'
complete -c iipsrv -s V -l version -d 'Print version'
