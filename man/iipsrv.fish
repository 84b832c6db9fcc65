# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_iipsrv_global_optspecs
    string join \n bind= backlog= http= admin= demo check-config strict h/help V/version
end

function __fish_iipsrv_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_iipsrv_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_iipsrv_using_subcommand
    set -l cmd (__fish_iipsrv_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c iipsrv -n "__fish_iipsrv_needs_command" -l bind -d 'Listen for FastCGI on HOST:PORT, :PORT, [v6]:PORT or /path.sock' -r
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l backlog -d 'Listen backlog' -r
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l http -d 'Listen for HTTP too: the same URLs as behind a web server, and a viewer at /' -r
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l admin -d 'Listen for /metrics, /health/live, /health/ready, /status and POST /purge: 127.0.0.1:PORT or /path.sock' -r
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l demo -d 'Serve the pictures in fixtures/demo/ at http://127.0.0.1:8080/'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l check-config -d 'Print every setting and where it came from, look at directories, names and limits; exit 1 when something is wrong'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -l strict -d 'Do not start when --check-config would find something wrong'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -s h -l help -d 'Print help'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -s V -l version -d 'Print version'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -f -a "check" -d 'Report the format of masters, the cost of their tiles, and how to convert slow ones; exits with 1 if a file is slow, with 2 if one cannot be served'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -f -a "export" -d 'Write an image as a pyramid of files with the bytes that the server would send; a second run continues an interrupted one'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -f -a "prewarm" -d 'Fill the caches that outlive the process (MEMCACHED_SERVERS and DISK_CACHE), with the settings of the environment'
complete -c iipsrv -n "__fish_iipsrv_needs_command" -f -a "get" -d 'Write one answer to standard output, without a socket; exits with 1 if it is an error'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand check" -l json -d 'Write one line of JSON for each file'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand check" -s h -l help -d 'Print help'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand export" -l iiif -d 'As IIIF Image API 3, level 0, to be published at URL' -r
complete -c iipsrv -n "__fish_iipsrv_using_subcommand export" -l deepzoom -d 'As DeepZoom: NAME.dzi and NAME_files'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand export" -l zoomify -d 'As Zoomify: ImageProperties.xml and TileGroup0, …'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand export" -s h -l help -d 'Print help'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand prewarm" -s l -l list -d 'Addresses, one on each line, or an access log; - is standard input' -r -F
complete -c iipsrv -n "__fish_iipsrv_using_subcommand prewarm" -l levels -d 'The number of levels of each image, from the smallest' -r
complete -c iipsrv -n "__fish_iipsrv_using_subcommand prewarm" -s h -l help -d 'Print help'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand get" -l headers -d 'Write the status and header lines to standard error'
complete -c iipsrv -n "__fish_iipsrv_using_subcommand get" -s h -l help -d 'Print help'
